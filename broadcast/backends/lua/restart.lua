-- Backend.restart. ARGV: now, a fresh epoch, the epoch that ends.

if redis.call('HGET', meta, 'epoch') == ARGV[3] then
    redis.call('HSET', meta, 'epoch', ARGV[2])
end
return redis.status_reply('OK')
