-- Rooms.relay, Rooms.update and Rooms.say. ARGV: peer ("": the server), target ("": all), the peer's
-- new record ("": as it was), payload ("": only see). Answers {0, epoch, offset}, offset 0 if nothing
-- was said, or {1: the peer is not in, 2: the target is not}.

local peer, target, record = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2]
local payload = ARGV[FIRST + 3]

local is_in
if peer == '' then
    is_in = redis.call('HLEN', members) > 0
else
    is_in = redis.call('HEXISTS', members, peer) == 1
end
if not is_in then
    return {1}
end
if target ~= '' and redis.call('HEXISTS', members, target) == 0 then
    return {2}
end
if record ~= '' then
    redis.call('HSET', members, peer, record)
end
return {0, epoch, payload ~= '' and append(payload) or 0}
