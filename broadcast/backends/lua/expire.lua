-- Drop what is too old, one stream of Backend.prune. What an older version left has an end now; no
-- other end is put off, however often somebody prunes. ARGV: now. Answers how many went.

for index = 1, 2 do
    if redis.call('TTL', KEYS[index]) == -1 then
        redis.call('EXPIRE', KEYS[index], GRACE)
    end
end
return expire(tonumber(ARGV[1]))
