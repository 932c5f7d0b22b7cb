-- What a new connection says first. KEYS: the server's generation (hash). ARGV: the run id of this
-- Redis process, the replication id it had before its last promotion (zeros: it was never promoted),
-- whether an append-only file keeps what is written, a fresh generation.
--
-- Another run id: it restarted, or it is another server. Without an append-only file it may have
-- forgotten the end of every history, and a listener that heard that end must not take new
-- publications for it.
-- A replica that was promoted may never have had that end, whatever its append-only file keeps.
-- No run id: it was evicted, or nobody was here before.

local before = redis.call('HMGET', KEYS[1], 'run_id', 'promoted_from', 'count')
local restarted = before[1] ~= ARGV[1]
local promoted = not string.match(ARGV[2], '^0*$') and before[2] ~= ARGV[2]
if restarted or before[2] ~= ARGV[2] then
    -- Write only then: a full Redis can still be read.
    redis.call('HSET', KEYS[1], 'run_id', ARGV[1], 'promoted_from', ARGV[2])
end
if not before[1] or promoted or restarted and ARGV[3] ~= '1' then
    redis.call('HSET', KEYS[1], 'count', ARGV[4])
elseif not before[3] then
    redis.call('HSET', KEYS[1], 'count', '0')
end
return redis.status_reply('OK')
