-- One page of the scan through all runs, newest first: looks at h.scan runs, stops at h.limit
-- matches and after the one with which there are h.bytes bytes. Bytes: before. h.where is the
-- condition (see filtering.py). Answers {next "before" or "" at the end, rows of {run id, its hash
-- flat, without input and result}}.
local before = take()
local LARGE = { i = true, o = true }

-- JSON values are compared as values: cjson has one type of number, so whole ones beyond its
-- precision are compared by their digits.
local function equals(stored, wanted)
  if type(stored) ~= type(wanted) then
    return false
  end
  if type(stored) ~= 'table' then
    return stored == wanted
  end
  for key, value in pairs(stored) do
    if wanted[key] == nil or not equals(value, wanted[key]) then
      return false
    end
  end
  for key in pairs(wanted) do
    if stored[key] == nil then
      return false
    end
  end
  return true
end

local function holds(text, wanted_text)
  if text == wanted_text then
    return true
  end
  if string.find(text, '^%-?%d+$') and string.find(wanted_text, '^%-?%d+$') then
    return false
  end
  local is_json, stored = pcall(cjson.decode, text)
  if not is_json then
    return false
  end
  local wanted = cjson.decode(wanted_text)
  if equals(stored, wanted) then
    return true
  end
  if type(stored) == 'table' and type(wanted) ~= 'table' and string.find(text, '^%s*%[') then
    for i = 1, #stored do
      if equals(stored[i], wanted) then
        return true
      end
    end
  end
  return false
end

local matches

local CONDITIONS = {
  all = function(key, terms)
    for i = 1, #terms do
      if not matches(key, terms[i]) then
        return false
      end
    end
    return true
  end,
  any = function(key, terms)
    for i = 1, #terms do
      if matches(key, terms[i]) then
        return true
      end
    end
    return false
  end,
  field = function(key, column, value)
    return call('HGET', key, column) == value
  end,
  queue = function(key, ids)
    local queue = math.floor((tonumber(call('HGET', key, 'l')) or -1) / LANES_PER_QUEUE)
    for i = 1, #ids do
      if ids[i] == queue then
        return true
      end
    end
    return false
  end,
  attribute = function(key, name, wanted)
    local text = call('HGET', key, 'a:' .. name)
    return text and holds(text, wanted)
  end,
}

function matches(key, condition)
  return CONDITIONS[condition[1]](key, condition[2], condition[3])
end

local function shown(key, bytes)
  local names, columns = call('HKEYS', key), {}
  for i = 1, #names do
    if not LARGE[names[i]] then
      local value = call('HGET', key, names[i]) or ''
      columns[#columns + 1] = names[i]
      columns[#columns + 1] = value
      bytes = bytes - #value
    end
  end
  return columns, bytes
end

local newest = before == '' and '+' or '(' .. before
local runs = call('ZREVRANGEBYLEX', P .. 'runs', newest, '-', 'LIMIT', 0, h.scan)
local rows, bytes = {}, h.bytes
for i = 1, #runs do
  local key = P .. 'run:' .. runs[i]
  local condition = h.where
  if call('EXISTS', key) == 1 and (not condition or condition == cjson.null
    or matches(key, condition)) then
    local columns
    columns, bytes = shown(key, bytes)
    rows[#rows + 1] = { runs[i], columns }
    if #rows == h.limit or bytes <= 0 then
      return { runs[i], rows }
    end
  end
end
return { #runs == h.scan and runs[#runs] or '', rows }
