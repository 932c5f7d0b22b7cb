-- What every script of history begins with. KEYS: the stream's meta hash, its Redis Stream, run
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
-- says which of the others there must be. Where one is missing the rest means nothing any more: all
-- of it is deleted, and a new epoch begins at offset 0.

local meta, stream = KEYS[1], KEYS[2]

-- A new epoch of a stream that has so many keys, of which nothing is left.
local function begin(fresh, own)
    redis.call('DEL', unpack(KEYS, 1, own))
    redis.call('HSET', meta, 'epoch', fresh,
        'generation', redis.call('HGET', KEYS[#KEYS], 'count'))
    return fresh
end

-- Whether Redis has all that meta says: what stands there of epoch, offset, tick, keyed, recording.
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

-- The epoch of a stream that has so many keys: `fresh` where no history is there, a part of it is
-- missing, or Redis may have forgotten the end of it.
local function epoch_or(fresh, own)
    local generation = redis.call('HGET', KEYS[#KEYS], 'count')
    if not generation then
        -- Evicted: nobody knows what happened meanwhile.
        generation = fresh
        redis.call('HSET', KEYS[#KEYS], 'count', fresh)
    end
    local known = redis.call('HMGET', meta, 'epoch', 'generation', 'offset', 'tick', 'keyed',
        'recording')
    if not is_whole(known[1], known[3], known[4], known[5], known[6]) then
        return begin(fresh, own)
    end
    if known[2] == generation then
        return known[1]
    end
    redis.call('HSET', meta, 'epoch', fresh, 'generation', generation)
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
