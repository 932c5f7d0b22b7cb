-- Drop publications that are too old, for one stream of Backend.prune. Keys of an older version,
-- which had no expiry, get one; no other expiry is put off, however often somebody prunes.
-- ARGV: now. Answers how many publications went.

for index = 1, 2 do
    if redis.call('TTL', KEYS[index]) == -1 then
        redis.call('EXPIRE', KEYS[index], GRACE)
    end
end
return expire(tonumber(ARGV[1]))
