-- Takes over places that were taken under another id of the same person. May run again: what is
-- kept stays kept, and what was settled is not reserved anew.
--
-- KEYS[1]  the person's places, as in reserve.lua
-- ARGV     send id and place, in turn
--
-- The person's own key takes places again, should it have been left for another before.
local KEY_LIFE_MS = 33 * 86400e3
redis.call('HDEL', KEYS[1], 'moved')
for a = 1, #ARGV, 2 do
  local held = redis.call('HGET', KEYS[1], ARGV[a])
  if not held or (string.sub(held, 1, 1) == 'R' and string.sub(ARGV[a + 1], 1, 1) == 'C') then
    redis.call('HSET', KEYS[1], ARGV[a], ARGV[a + 1])
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('PEXPIRE', KEYS[1], KEY_LIFE_MS) end
return 0
