-- Backend.leave. ARGV: the streamer. Answers 1 if it was the current one.

redis.call('HDEL', presence, 'replaced:' .. ARGV[1])
if redis.call('HGET', presence, 'streamer') ~= ARGV[1] then
    return 0
end
redis.call('HDEL', presence, 'streamer', 'until')
return 1
