-- Backend.read. ARGV: now, a fresh epoch, since, count, size. Answers the epoch and the entries.

local epoch = epoch_or(ARGV[2], 6)
expire(tonumber(ARGV[1]))
local since, count, size = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local found, after = {}, '(' .. since .. '-1'
while #found < count do
    -- A few at a time: how many fit is known only when they have been read.
    local entries = redis.call('XRANGE', stream, after, '+', 'COUNT', math.min(count - #found, 64))
    if #entries == 0 then
        break
    end
    for _, entry in ipairs(entries) do
        size = size - #entry[2][10]
        if size < 0 and #found > 0 then
            return {epoch, found}
        end
        found[#found + 1] = {offset_of(entry), entry[2][2], entry[2][4], entry[2][6], entry[2][10]}
    end
    after = '(' .. entries[#entries][1]
end
return {epoch, found}
