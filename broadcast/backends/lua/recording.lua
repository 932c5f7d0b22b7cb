-- Backend.recording. ARGV: a fresh epoch, the recording. Answers its frames, state, held-back bytes.

epoch_or(ARGV[1], 6)
local kept = redis.call('HMGET', meta, 'recording', 'recording_frames', 'recording_state')
if kept[1] ~= ARGV[2] then
    return {0, '', ''}
end
return {tonumber(kept[2]), kept[3], redis.call('GET', KEYS[6])}
