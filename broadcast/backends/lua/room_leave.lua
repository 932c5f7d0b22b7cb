-- Rooms.leave. ARGV: peer, farewell. Answers {epoch, what take_out answers}; nothing: it was not in.

local peer = ARGV[FIRST]
if redis.call('HEXISTS', members, peer) == 0 then
    return {}
end
return {epoch, take_out(peer, ARGV[FIRST + 1])}
