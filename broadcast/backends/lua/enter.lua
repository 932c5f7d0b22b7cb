-- Backend.enter. ARGV: now, until when it holds, the streamer, seconds the key lives. Answers the
-- streamers that were replaced.

local now, until_, streamer = tonumber(ARGV[1]), ARGV[2], ARGV[3]

local current = redis.call('HMGET', presence, 'streamer', 'until')
if current[1] and current[1] ~= streamer and tonumber(current[2]) >= now then
    redis.call('HSET', presence, 'replaced:' .. current[1], until_)
end
redis.call('HSET', presence, 'streamer', streamer, 'until', until_)
redis.call('EXPIRE', presence, ARGV[4])
return replaced(now)
