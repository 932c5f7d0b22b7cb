-- Backend.replaced. ARGV: now. Answers those that were replaced.

return replaced(tonumber(ARGV[1]))
