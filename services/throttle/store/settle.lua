-- Keeps or frees the places of sends that have ended. Says the same as `rules.settle`.
--
-- KEYS[i]  one person's places, as in reserve.lua
-- ARGV[i]  the person's sends: C (committed) or R (released) and the send id, each
--
-- The first settlement holds; a send without a place is left alone.
--
-- Returns the numbers of the persons some of whose places may be under another id: of a send there
-- is none here, or they are counted elsewhere by now (leave.lua).
local elsewhere, pos = {}
for i, key in ipairs(KEYS) do
  local sends, all_here = ARGV[i], redis.call('HEXISTS', key, 'moved') == 0
  pos = 1
  while pos <= #sends do
    local outcome, id
    outcome, id, pos = struct.unpack('<c1c16', sends, pos)
    local place = redis.call('HGET', key, id)
    all_here = all_here and place
    if place and string.sub(place, 1, 1) == 'R' then
      if outcome == 'C' then
        redis.call('HSET', key, id, 'C' .. string.sub(place, 2))
      else
        redis.call('HDEL', key, id)
      end
    end
  end
  if not all_here then elsewhere[#elsewhere + 1] = i end
end
return elsewhere
