-- The frames of one run, in order.
return call('LRANGE', P .. 'journal:' .. take(), 0, -1)
