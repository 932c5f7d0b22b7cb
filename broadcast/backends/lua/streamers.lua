-- The beginning of the scripts of streamers. KEYS: the stream's presence (hash). Its fields: streamer
-- and until (when that expires), and replaced:<streamer> = until, for each that was replaced and
-- has not left yet.

local presence = KEYS[1]

-- The streamers that were replaced and have not left; each entry holds until it expires.
local function replaced(now)
    local found, said = {}, redis.call('HGETALL', presence)
    for index = 1, #said, 2 do
        local former = string.match(said[index], '^replaced:(.*)$')
        if former and tonumber(said[index + 1]) < now then
            redis.call('HDEL', presence, said[index])
        elseif former then
            found[#found + 1] = former
        end
    end
    return found
end
