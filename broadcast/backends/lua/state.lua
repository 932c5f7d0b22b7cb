-- Backend.state. ARGV: now, a fresh epoch. Answers epoch, offset, first, entry, header (or false).

local epoch = epoch_or(ARGV[2], 6)
expire(tonumber(ARGV[1]))
local offset, header = number_of('offset'), false
local at_first = oldest()
local first = at_first and offset_of(at_first) or offset + 1
if redis.call('HEXISTS', meta, 'header_offset') == 1 then
    header = redis.call('HMGET', meta, 'header_offset', 'header_kind', 'header_marks',
        'header_time', 'header_payload')
end
return {epoch, offset, first, number_of('entry'), header}
