-- The beginning of every script of history. KEYS: the stream's meta hash, its Redis Stream, run
-- counts (hash), runs by last use (sorted set), idempotency keys (sorted set by offset), what the
-- recording holds back; the last one is the server's generation.
--
-- meta: epoch, generation (the server's, in which the epoch is known to be good), offset (newest),
-- total (bytes ever appended), seconds (age limit), entry (newest entry point), and the header as
-- header_offset, header_kind, header_marks, header_time, header_payload; recording (the newest one's
-- id), recording_frames, recording_state; tick (which run was used last), keyed (there were
-- idempotency keys). An entry of the Redis Stream has its offset as id, and the fields k (kind), m
-- (marks), t (time), z (total up to and with it), p (payload), in this order.
--
-- A Redis that evicts (`maxmemory-policy`) forgets any one key and keeps the others. The rule: meta
-- says which other keys must exist. If one of them is missing, the rest is worthless: all of it is
-- deleted, and a new epoch begins at offset 0.

local meta, stream = KEYS[1], KEYS[2]

-- Seconds for which a stream is kept beyond its age, or after somebody asked where it stands.
local GRACE = 300

-- Keep a key, if it exists, for so many seconds at least, and not for ever.
local function keep_for(seconds, key)
    local left = redis.call('TTL', key)
    if left ~= -2 and left < tonumber(seconds) then
        redis.call('EXPIRE', key, seconds)
    end
end

-- Delete the first `own` keys, which are the stream's, and begin a new epoch. That is kept for
-- `life` seconds, since a mere question may begin it.
local function begin(fresh, own, life)
    redis.call('DEL', unpack(KEYS, 1, own))
    redis.call('HSET', meta, 'epoch', fresh,
        'generation', redis.call('HGET', KEYS[#KEYS], 'count'))
    redis.call('EXPIRE', meta, life or GRACE)
    return fresh
end

-- Whether Redis has all the keys that these fields of meta call for.
local function is_whole(epoch, offset, tick, keyed, recording)
    if not epoch then
        return false
    end
    local needed = {}
    if offset and offset ~= '0' then
        needed[1] = stream
    elseif redis.call('EXISTS', stream) == 1 then
        return false
    end
    if tick then
        needed[#needed + 1] = KEYS[3]
        needed[#needed + 1] = KEYS[4]
    end
    if keyed then
        needed[#needed + 1] = KEYS[5]
    end
    if recording then
        needed[#needed + 1] = KEYS[6]
    end
    return #needed == 0 or redis.call('EXISTS', unpack(needed)) == #needed
end

-- The epoch of a stream whose keys are the first `own`: `fresh` if there is no history, a part of it
-- is missing, or Redis may have forgotten its end.
local function epoch_or(fresh, own, life)
    local generation = redis.call('HGET', KEYS[#KEYS], 'count')
    if not generation then
        -- Evicted: nobody knows what happened meanwhile.
        generation = fresh
        redis.call('HSET', KEYS[#KEYS], 'count', fresh)
    end
    local known = redis.call('HMGET', meta, 'epoch', 'generation', 'offset', 'tick', 'keyed',
        'recording')
    if not is_whole(known[1], known[3], known[4], known[5], known[6]) then
        return begin(fresh, own, life)
    end
    if known[2] == generation then
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
