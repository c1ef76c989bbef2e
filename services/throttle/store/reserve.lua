-- Takes places for the sends of many persons. Says the same as `rules.reserve`; a test holds the
-- two together.
--
-- KEYS[i]      one person's places: a hash from send id (16 bytes) to what PLACE reads
-- ARGV[1]      now, the oldest time that any window reaches, the number of plans, and the plans:
--              each the number of its limits, and for each limit the channels as bits, how many,
--              from when, to before when (all times in microseconds since the epoch)
-- ARGV[i + 1]  the person's sends in order: number of the plan, send id, place
--
-- Returns, send by send: 0 when the place is taken (now, or before and still held), else a list of
-- the limits that are reached: {number of the limit, time of the oldest of the newest `how many`,
-- then id, time and committed (0 or 1) of the newest}. -1 when the person's places are counted
-- under another id by now (leave.lua): nothing was done.
local unpack, band = struct.unpack, bit.band
local sort = table.sort

-- State (R: reserved, C: committed, M: not a place but the mark of leave.lua), channel, time,
-- lease. What is to be known of a place later comes behind these: readers go by position.
local PLACE = '<c1Bdd'
local SEND, SEND_LENGTH = '<I2c16c18', 36
-- Set anew by the first place of a day, so that a key outlives its last place by the longest
-- window at least.
local DAY, KEY_LIFE_MS = 86400e6, 33 * 86400e3
-- No limit is higher, so that older places of a channel can tip no scale.
local CROWD, CROWD_LEFT = 1500, 1000
local NEWEST = 3

local BITS = {}
for channel = 0, 31 do BITS[channel] = bit.lshift(1, channel) end

local function newer(a, b)
  if a.time ~= b.time then return a.time > b.time end
  return a.id > b.id
end

local now, oldest, count, at = unpack('<ddI2', ARGV[1])
-- What happened before every window is nothing to any limit, and as long as there are fewer than
-- the least limit there is nothing to look at: both spare most of the work.
local plans, horizon, least = {}, math.huge, math.huge
for p = 1, count do
  local limits, length = {}, 0
  length, at = unpack('<B', ARGV[1], at)
  for l = 1, length do
    local limit = {}
    limit.mask, limit.room, limit.start, limit.stop, at = unpack('<I4I4dd', ARGV[1], at)
    limits[l] = limit
    horizon = math.min(horizon, limit.start)
    least = math.min(least, limit.room)
  end
  plans[p] = limits
end

local function listed(raw)
  local places = {}
  for r = 1, #raw, 2 do
    local state, channel, time, lease = unpack(PLACE, raw[r + 1])
    if time >= horizon and (state == 'C' or lease > now) then
      places[#places + 1] =
        {id = raw[r], committed = state == 'C', bit = BITS[channel], time = time}
    end
  end
  return places
end

-- `places` are those that count, from the horizon on.
local function breach(number, limit, places)
  local within = {}
  for _, place in ipairs(places) do
    if band(limit.mask, place.bit) ~= 0 and place.time >= limit.start and place.time < limit.stop then
      within[#within + 1] = place
    end
  end
  if #within < limit.room then return nil end
  sort(within, newer)
  local found = {number, within[limit.room].time}
  for i = 1, math.min(NEWEST, #within) do
    local place = within[i]
    found[#found + 1] = place.id
    found[#found + 1] = place.time
    found[#found + 1] = place.committed and 1 or 0
  end
  return found
end

-- A channel has more places than any limit can need: the oldest go. Returns what is left.
local function thin(key, raw)
  local counted, limits = {}, {}
  for r = 1, #raw, 2 do
    local state, channel, time, lease = unpack(PLACE, raw[r + 1])
    if state == 'C' or lease > now then
      counted[channel] = counted[channel] or {}
      table.insert(counted[channel], {id = raw[r], time = time})
    end
  end
  for channel, places in pairs(counted) do
    if #places > CROWD then
      sort(places, newer)
      limits[channel] = places[CROWD_LEFT]
    end
  end
  for r = 1, #raw, 2 do
    local _, channel, time = unpack(PLACE, raw[r + 1])
    local last = limits[channel]
    if last and newer(last, {id = raw[r], time = time}) then redis.call('HDEL', key, raw[r]) end
  end
  return redis.call('HGETALL', key)
end

local answers = {}
for i, key in ipairs(KEYS) do
  local sends, wanted, asked, pos = ARGV[i + 1], {}, 0, 1
  while pos <= #sends do
    local _, id = unpack('<I2c16', sends, pos)
    wanted[id], asked, pos = true, asked + 1, pos + SEND_LENGTH
  end

  local held, size, latest, left = {}, 0, 0, false
  local raw = redis.call('HGETALL', key)
  if #raw > 2 * CROWD then raw = thin(key, raw) end
  for r = 1, #raw, 2 do
    local state, _, time, lease = unpack(PLACE, raw[r + 1])
    if time > latest then latest = time end
    if state == 'M' then
      left = true
    elseif time <= oldest then
      redis.call('HDEL', key, raw[r])
    elseif state == 'C' or lease > now then
      if wanted[raw[r]] then held[raw[r]] = true end
      if time >= horizon then size = size + 1 end
    end
  end

  local places = size + asked > least and listed(raw)
  local wrote = false
  pos = 1
  while pos <= #sends do
    local plan, id, value, answer
    plan, id, value, pos = unpack(SEND, sends, pos)
    if left then
      answer = -1
    elseif not held[id] then
      for number, limit in ipairs(places and plans[plan] or {}) do
        local found = #places >= limit.room and breach(number, limit, places)
        if found then
          answer = answer or {}
          answer[#answer + 1] = found
        end
      end
      if not answer then
        redis.call('HSET', key, id, value)
        wrote, held[id] = true, true
        if places then
          local _, channel, time = unpack(PLACE, value)
          places[#places + 1] = {id = id, committed = false, bit = BITS[channel], time = time}
        end
      end
    end
    answers[#answers + 1] = answer or 0
  end
  if wrote and math.floor(latest / DAY) ~= math.floor(now / DAY) then
    redis.call('PEXPIRE', key, KEY_LIFE_MS)
  end
end
return answers
