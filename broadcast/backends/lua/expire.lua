-- Drop what is too old, one stream of Backend.prune. ARGV: now. Answers how many went.

return expire(tonumber(ARGV[1]))
