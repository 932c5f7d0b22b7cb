-- Backend.accepted. ARGV: a fresh epoch, the run. Answers how many of its publications are in.

epoch_or(ARGV[1], 6)
return tonumber(redis.call('HGET', KEYS[3], ARGV[2]) or 0)
