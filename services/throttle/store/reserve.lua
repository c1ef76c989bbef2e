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
-- then id, time and committed (0 or 1) of the newest}.
local unpack, band = struct.unpack, bit.band
local sort, sub = table.sort, string.sub

-- State (R: reserved, C: committed), channel, time, lease. What is to be known of a place later
-- comes behind these: readers go by position.
local PLACE = '<c1Bdd'
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
local plans = {}
for p = 1, count do
  local limits, length = {}, 0
  length, at = unpack('<B', ARGV[1], at)
  for l = 1, length do
    local limit = {}
    limit.mask, limit.room, limit.start, limit.stop, at = unpack('<I4I4dd', ARGV[1], at)
    limits[l] = limit
  end
  plans[p] = limits
end

local function counts(place)
  return place.committed or place.lease > now
end

local function breach(number, limit, places)
  local within = {}
  for _, place in ipairs(places) do
    if counts(place) and band(limit.mask, place.bit) ~= 0
      and place.time >= limit.start and place.time < limit.stop then
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

-- One channel of one person has more places than any limit can need: the oldest go.
local function thin(key, places, held, mask)
  local counted = {}
  for _, place in ipairs(places) do
    if place.bit == mask and counts(place) then counted[#counted + 1] = place end
  end
  if #counted <= CROWD_LEFT then return places end
  sort(counted, newer)
  local last, left = counted[CROWD_LEFT], {}
  for _, place in ipairs(places) do
    if place.bit == mask and newer(last, place) then
      redis.call('HDEL', key, place.id)
      held[place.id] = nil
    else
      left[#left + 1] = place
    end
  end
  return left
end

local answers = {}
for i, key in ipairs(KEYS) do
  local places, held, crowd, latest = {}, {}, {}, 0
  local raw = redis.call('HGETALL', key)
  for r = 1, #raw, 2 do
    local id = raw[r]
    local state, channel, time, lease = unpack(PLACE, raw[r + 1])
    if time <= oldest then
      redis.call('HDEL', key, id)
    else
      local mask = BITS[channel]
      local place = {id = id, committed = state == 'C', bit = mask, time = time, lease = lease}
      places[#places + 1] = place
      held[id] = place
      crowd[mask] = (crowd[mask] or 0) + 1
      if time > latest then latest = time end
    end
  end
  for mask, size in pairs(crowd) do
    if size > CROWD then places = thin(key, places, held, mask) end
  end
  local sends, pos = ARGV[i + 1], 1
  local wrote = false
  while pos <= #sends do
    local plan, id, value
    plan, id, value, pos = unpack('<I2c16c18', sends, pos)
    local place = held[id]
    local answer = nil
    if not (place and counts(place)) then
      for number, limit in ipairs(plans[plan]) do
        -- With fewer places than the limit there is nothing to count.
        if #places >= limit.room then
          local found = breach(number, limit, places)
          if found then
            answer = answer or {}
            answer[#answer + 1] = found
          end
        end
      end
      if not answer then
        local _, channel, time, lease = unpack(PLACE, value)
        redis.call('HSET', key, id, value)
        wrote = true
        if place then
          -- Its lease had ended: it begins again.
          place.bit, place.time, place.lease = BITS[channel], time, lease
        else
          place = {id = id, committed = false, bit = BITS[channel], time = time, lease = lease}
          places[#places + 1] = place
          held[id] = place
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
