-- Drop what is too old, one stream of Backend.prune. What an older version left has an end now.
-- ARGV: now. Answers how many went.

keep_for(GRACE, meta)
keep_for(GRACE, stream)
return expire(tonumber(ARGV[1]))
