-- What every script of rooms begins with, after common.lua. KEYS further: the room's members, the
-- processes they are connected to, what is known of the room, and all rooms of this server. ARGV of
-- all: now, a fresh epoch, the room's id, the process that asks, until when what it says holds,
-- limits of history (publications, bytes, seconds), seconds the keys live while the room is there,
-- and after it, bytes that all rooms of this server share. A script's own begin with ARGV[FIRST].
--
-- meta further: open (somebody is in, so members, processes and room must be there).
-- members: by id `<process> <since> <status as JSON>`. processes: until when each is believed to
-- live. room: since, peak. all rooms (sorted set): until when somebody is believed to be in.

local members, processes, room, all_rooms = KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now, id, process, until_ = tonumber(ARGV[1]), ARGV[3], ARGV[4], ARGV[5]
local FIRST = 12
local OWN = 5
local epoch = epoch_or(ARGV[2], OWN, ARGV[10])
local parts = redis.call('HEXISTS', meta, 'open') == 1 and 3 or 0
if redis.call('EXISTS', members, processes, room) ~= parts then
    -- Its members are forgotten with the rest: each is told so, and comes back.
    epoch = begin(ARGV[2], OWN, ARGV[10])
    redis.call('ZREM', all_rooms, id)
end

local function append(payload)
    local offset = number_of('offset') + 1
    local total = string.format('%.0f', number_of('total') + #payload)
    redis.call('XADD', stream, offset .. '-1',
        'k', '0', 'm', '0', 't', ARGV[1], 'z', total, 'p', payload)
    redis.call('HSET', meta, 'offset', offset, 'total', total, 'seconds', ARGV[8])
    redis.call('XTRIM', stream, 'MAXLEN', '=', ARGV[6])
    local share = tonumber(ARGV[11]) / math.max(redis.call('ZCARD', all_rooms), 1)
    trim(math.min(tonumber(ARGV[7]), share), now - tonumber(ARGV[8]))
    return offset
end

-- The process lives, and the room with it.
local function keep()
    redis.call('HSET', processes, process, until_)
    redis.call('ZADD', all_rooms, 'GT', until_, id)
    for index = 1, 6 do
        redis.call('EXPIRE', KEYS[index], ARGV[9])
    end
end

-- Keep the position of the empty room for a while: the next members must not take its order for
-- another.
local function fade()
    redis.call('EXPIRE', meta, ARGV[10])
    redis.call('EXPIRE', stream, ARGV[10])
end

-- Take a member out, and say so if anybody is left. Answers {id, record, offset (0: nobody is left),
-- peak (of a room that ended with it, or 0)}.
local function take_out(peer, farewell)
    local record = redis.call('HGET', members, peer)
    redis.call('HDEL', members, peer)
    if redis.call('HLEN', members) > 0 then
        local said = string.gsub(farewell, '{}', peer, 1)
        return {peer, record, append(said), 0}
    end
    local peak = tonumber(redis.call('HGET', room, 'peak') or 1)
    redis.call('XTRIM', stream, 'MAXLEN', 0)
    redis.call('DEL', processes, room)
    redis.call('HDEL', meta, 'open')
    redis.call('ZREM', all_rooms, id)
    fade()
    return {peer, record, 0, peak}
end
