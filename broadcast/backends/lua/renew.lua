-- Renew what one process says of a stream, and keep the stream. KEYS: all of the stream, its presence
-- last. ARGV: until when it holds, the process, its listeners there, its streamer ("": it has none),
-- seconds the presence lives, now.

local presence, until_, process, listeners, streamer = KEYS[7], ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if listeners == '0' then
    redis.call('HDEL', presence, 'listeners:' .. process)
else
    redis.call('HSET', presence, 'listeners:' .. process, listeners .. ' ' .. until_)
end
local current = redis.call('HGET', presence, 'streamer')
-- Nobody: Redis forgot it.
if streamer ~= '' and (not current or current == streamer) then
    redis.call('HSET', presence, 'streamer', streamer, 'until', until_)
end
redis.call('EXPIRE', presence, ARGV[5])
if listeners ~= '0' or streamer ~= '' then
    expire(tonumber(ARGV[6]))
    for index = 1, 6 do
        keep_for(GRACE, KEYS[index])
    end
end
return 1
