-- Backend.replaced. ARGV: now. Answers the streamers that were replaced.

return replaced(tonumber(ARGV[1]))
