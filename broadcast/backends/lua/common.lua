-- What every script of history begins with. KEYS: the stream's meta hash, its Redis Stream; the
-- last one is the server's generation.
--
-- meta: epoch, generation (the server's, in which the epoch is known to be good), offset (newest),
-- total (bytes ever appended), seconds (age limit), entry (newest entry point), and the header as
-- header_offset, header_kind, header_marks, header_time, header_payload; recording (the newest one's
-- id), recording_frames, recording_state. An entry of the Redis
-- Stream has its offset as id, and the fields k (kind), m (marks), t (time), z (total up to and
-- with it), p (payload), in this order.

local meta, stream = KEYS[1], KEYS[2]

-- Seconds for which a stream is kept beyond its age, or when somebody asked where it stands.
local GRACE = 300

-- Keep what is there for so many seconds at least, and not for ever.
local function keep_for(seconds, key)
    local left = redis.call('TTL', key)
    if left ~= -2 and left < tonumber(seconds) then
        redis.call('EXPIRE', key, seconds)
    end
end

-- The epoch: `fresh` where no history is there, or Redis may have forgotten the end of it. One that
-- begins with a question is kept for `life` seconds.
local function epoch_or(fresh, life)
    local generation = redis.call('HGET', KEYS[#KEYS], 'count') or '0'
    local known = redis.call('HMGET', meta, 'epoch', 'generation')
    if known[1] and known[2] == generation then
        return known[1]
    end
    redis.call('HSET', meta, 'epoch', fresh, 'generation', generation)
    if redis.call('TTL', meta) == -1 then
        redis.call('EXPIRE', meta, life or GRACE)
    end
    return fresh
end

local function number_of(field)
    return tonumber(redis.call('HGET', meta, field) or 0)
end

local function offset_of(entry)
    return tonumber(string.match(entry[1], '^%d+'))
end

local function oldest()
    return redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
end

-- Drop from the oldest end while there are more bytes than `bytes`, or it is older than `since`.
local function trim(bytes, since)
    local total, dropped = number_of('total'), 0
    local entry = oldest()
    while entry do
        local fields = entry[2]
        local before = tonumber(fields[8]) - #fields[10]
        if total - before <= bytes and tonumber(fields[6]) >= since then
            break
        end
        redis.call('XDEL', stream, entry[1])
        dropped = dropped + 1
        entry = oldest()
    end
    return dropped
end

-- Drop what is older than the stream's limit.
local function expire(now)
    local seconds = redis.call('HGET', meta, 'seconds')
    return seconds and trim(math.huge, now - tonumber(seconds)) or 0
end
