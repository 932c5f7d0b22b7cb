-- Append drafts: all or none, in one step (Backend.append).
--
-- ARGV: now, limits (publications, bytes, seconds), a fresh
-- epoch, run, its number, key, how many runs and keys are remembered, seconds the keys live,
-- recording, its frames before and after, its state, what it holds back, 1 if that comes behind what
-- is kept, then kind, marks and payload of each draft. Answers epoch, offset, how many are new (-1:
-- the run has a gap, or the recording is another one), accepted.

local now = tonumber(ARGV[1])
local count, bytes, seconds = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local run, number, key = ARGV[6], tonumber(ARGV[7]), ARGV[8]
local known_runs, known_keys, life = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local recording, frames_before, frames_after = ARGV[12], tonumber(ARGV[13]), tonumber(ARGV[14])
local FIRST = 18

local epoch = epoch_or(ARGV[5], 6)
expire(now)
local offset, total = number_of('offset'), number_of('total')

if key ~= '' then
    local before = redis.call('ZSCORE', KEYS[5], key)
    if before then
        return {epoch, tonumber(before), 0, 0}
    end
end

local at, accepted = FIRST, 0
local drafts = (#ARGV - FIRST + 1) / 3
if run ~= '' then
    local before = tonumber(redis.call('HGET', KEYS[3], run) or 0)
    if number > before + 1 then
        return {epoch, offset, -1, before}
    end
    local skip = math.min(before + 1 - number, drafts)
    at = FIRST + 3 * skip
    drafts = drafts - skip
    accepted = before + drafts
    redis.call('HSET', KEYS[3], run, accepted)
    redis.call('ZADD', KEYS[4], redis.call('HINCRBY', meta, 'tick', 1), run)
    if redis.call('ZCARD', KEYS[4]) > known_runs then
        redis.call('HDEL', KEYS[3], redis.call('ZPOPMIN', KEYS[4])[1])
    end
end

if recording ~= '' then
    local kept = redis.call('HMGET', meta, 'recording', 'recording_frames')
    local before = kept[1] == recording and tonumber(kept[2]) or 0
    if before ~= frames_before then
        return {epoch, offset, -1, before}
    end
    accepted = frames_after
    redis.call('HSET', meta, 'recording', recording, 'recording_frames', frames_after,
        'recording_state', ARGV[15])
    if ARGV[17] == '1' then
        redis.call('APPEND', KEYS[6], ARGV[16])
    else
        redis.call('SET', KEYS[6], ARGV[16])
    end
end

for index = at, #ARGV, 3 do
    local kind, marks, payload = ARGV[index], tonumber(ARGV[index + 1]), ARGV[index + 2]
    offset, total = offset + 1, total + #payload
    redis.call('XADD', stream, offset .. '-1',
        'k', kind, 'm', marks, 't', ARGV[1], 'z', string.format('%.0f', total), 'p', payload)
    if recording == '' and (marks >= 4 or marks % 2 == 1) then
        redis.call('HDEL', meta, 'recording', 'recording_frames', 'recording_state')
        redis.call('DEL', KEYS[6])
    end
    if marks >= 4 then
        redis.call('HDEL', meta, 'header_offset', 'entry')
    end
    if marks % 2 == 1 then
        redis.call('HSET', meta, 'header_offset', offset, 'header_kind', kind,
            'header_marks', marks, 'header_time', ARGV[1], 'header_payload', payload)
    end
    if marks % 4 >= 2 then
        redis.call('HSET', meta, 'entry', offset)
    end
end
redis.call('HSET', meta, 'offset', offset, 'total', string.format('%.0f', total),
    'seconds', ARGV[4])

if key ~= '' then
    redis.call('ZADD', KEYS[5], offset, key)
    redis.call('HSET', meta, 'keyed', 1)
    redis.call('ZREMRANGEBYRANK', KEYS[5], 0, -known_keys - 1)
end
redis.call('XTRIM', stream, 'MAXLEN', '=', count)
trim(bytes, now - seconds)
for index = 1, #KEYS - 1 do
    redis.call('EXPIRE', KEYS[index], life)
end
return {epoch, offset, drafts, accepted}
