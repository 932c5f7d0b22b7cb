-- What one process says of a stream. KEYS: the stream's presence. ARGV: until when it holds, the
-- process, its listeners there, its streamer ("": it has none), seconds the key lives.

redis.call('HSET', KEYS[1], 'listeners:' .. ARGV[2], ARGV[3] .. ' ' .. ARGV[1])
if ARGV[4] ~= '' and redis.call('HGET', KEYS[1], 'streamer') == ARGV[4] then
    redis.call('HSET', KEYS[1], 'until', ARGV[1])
end
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
