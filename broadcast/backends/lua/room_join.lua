-- Rooms.join. ARGV: peer, its record, most members, most rooms here ("": any number), announcement.
-- Answers {0, epoch, offset, members before}, or {1: full, 2: too many rooms, 3: already in}.

local peer, record, most, most_rooms = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2], ARGV[FIRST + 3]

local count = redis.call('HLEN', members)
if redis.call('HEXISTS', members, peer) == 1 then
    return {3}
end
if count == 0 then
    -- Where it is refused nothing is to stay of it.
    fade()
end
if count == 0 and most_rooms ~= ''
    and redis.call('ZCOUNT', all_rooms, ARGV[1], '+inf') >= tonumber(most_rooms) then
    return {2}
end
if count >= tonumber(most) then
    return {1}
end
local before = redis.call('HGETALL', members)
redis.call('HSET', members, peer, record)
if count == 0 then
    redis.call('HSET', meta, 'open', 1)
    redis.call('HSET', room, 'since', ARGV[1], 'peak', 1)
elseif count + 1 > tonumber(redis.call('HGET', room, 'peak') or 0) then
    redis.call('HSET', room, 'peak', count + 1)
end
local offset = append(ARGV[FIRST + 4])
keep()
return {0, epoch, offset, before}
