-- Backend.leave. KEYS: the stream's presence. ARGV: the streamer. Answers 1 if it was the current one.

if redis.call('HGET', KEYS[1], 'streamer') ~= ARGV[1] then
    return 0
end
redis.call('HDEL', KEYS[1], 'streamer', 'until')
return 1
