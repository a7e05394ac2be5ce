-- A page of the frames of one run, from h.from on, and how many there are in all.
local run = take()
return { journal_page(run, h.from, h.bytes), call('LLEN', P .. 'journal:' .. run) }
