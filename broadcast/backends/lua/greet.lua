-- What a new connection says first. KEYS: the server's generation (hash). ARGV: the run id of this
-- Redis process, whether an append-only file keeps what is written.
--
-- Another run id: it restarted. Without an append-only file it may have forgotten the end of every
-- history, and whoever heard that end must not mistake what comes for it.

local before = redis.call('HGET', KEYS[1], 'run_id')
if before ~= ARGV[1] then
    redis.call('HSET', KEYS[1], 'run_id', ARGV[1])
    if before and ARGV[2] ~= '1' then
        redis.call('HINCRBY', KEYS[1], 'count', 1)
    end
end
return redis.status_reply('OK')
