-- Says that the places of an id are counted elsewhere from now on: reserve.lua refuses it. Returns
-- the places.
--
-- KEYS[1]  the id's places, as in reserve.lua
--
-- Who asked where to reserve before that must have asked again by the time the key is gone.
local LEFT, LIFE_MS = 'M' .. struct.pack('<Bdd', 0, 0, 0), 3600e3
redis.call('HSET', KEYS[1], 'moved', LEFT)
redis.call('PEXPIRE', KEYS[1], LIFE_MS)
return redis.call('HGETALL', KEYS[1])
