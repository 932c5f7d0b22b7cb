-- Rooms.renew, one room. ARGV: farewell, 1 if members of dead processes are to leave, then the ids
-- of the members that the process has. Answers {epoch, those whom it has and that are not in, what
-- take_out answers of each who left}.
--
-- Members of the process that it does not name have left, and could not say so.

local farewell, may_bury = ARGV[FIRST], ARGV[FIRST + 1] == '1'
local named, forgotten, leaving, dead = {}, {}, {}, {}

expire(now)
for index = FIRST + 2, #ARGV do
    named[ARGV[index]] = true
    if redis.call('HEXISTS', members, ARGV[index]) == 0 then
        forgotten[#forgotten + 1] = ARGV[index]
    end
end
if #ARGV >= FIRST + 2 and redis.call('HLEN', members) > 0 then
    keep()
end
local lives = {}
local said = redis.call('HGETALL', processes)
for index = 1, #said, 2 do
    lives[said[index]] = tonumber(said[index + 1]) >= now
    if not lives[said[index]] and may_bury then
        redis.call('HDEL', processes, said[index])
    end
end
local known = redis.call('HGETALL', members)
for index = 1, #known, 2 do
    local peer, of = known[index], string.match(known[index + 1], '^%S+')
    if (of == process and not named[peer]) or (may_bury and of ~= process and not lives[of]) then
        leaving[#leaving + 1] = peer
    end
end
for index, peer in ipairs(leaving) do
    leaving[index] = take_out(peer, farewell)
end
if redis.call('HLEN', members) == 0 then
    redis.call('ZREM', all_rooms, id)
end
return {epoch, forgotten, leaving}
