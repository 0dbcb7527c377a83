#!lua name=desk
-- Every change of the desk's state: one function is one atomic change together with its event.
--
-- Rows arrive as finished JSON and are stored as given: numbers are doubles in Lua, so no money is
-- ever added up here. The functions compare epochs and versions, check the table of legal moves,
-- keep the indexes, and remember answers by request id.
--
-- Keys are built here from arguments instead of being declared: the store is one server by design.
--
-- Every changing function takes the same ten arguments first:
--   request id, its time to live in s, role, epoch, stream, topic, key, data, at_ms, trace id
-- and answers {code, ...}:
--   OK ... | CONFLICT key v | FENCED epoch | ILLEGAL from to | LIMIT name | DUP | REUSED what

local LEGAL = { @LEGAL@ }
local TERMINAL = { @TERMINAL@ }
local OWN = 11 -- first argument after the common ones

-- common part -----------------------------------------------------------------------------------

-- Returns an answer when the call must not go on: an old epoch, or a repeat of a finished request.
local function refused_or_done(what, args)
  local request, role, epoch = args[1], args[3], args[4]
  if role ~= '' then
    local newest = redis.call('HGET', 'lease:' .. role, 'epoch') or '0'
    if newest ~= epoch then return { 'FENCED', newest } end
  end
  if request ~= '' then
    local stored = redis.call('GET', 'req:' .. request)
    if stored then
      local answer = cmsgpack.unpack(stored)
      if table.remove(answer, 1) ~= what then return { 'REUSED', request } end
      return answer
    end
  end
  return nil
end

local function append_event(args)
  if args[5] == '' then return '' end
  return redis.call('XADD', args[5], '*', 'topic', args[6], 'key', args[7], 'data', args[8],
    'at_ms', args[9], 'trace_id', args[10])
end

local function remember(what, args, answer)
  if args[1] ~= '' then
    redis.call('SET', 'req:' .. args[1], cmsgpack.pack({ what, unpack(answer) }), 'EX', args[2])
  end
  return answer
end

local function finish(what, args, answer)
  append_event(args)
  return remember(what, args, answer)
end

local function version_of(key)
  return redis.call('HGET', key, 'v') or '0'
end

local function next_version(version)
  return string.format('%.0f', tonumber(version) + 1)
end

-- A document's version and its JSON, decoded; '0' and nothing when it is not there.
local function document(name)
  local found = redis.call('HMGET', 'doc:' .. name, 'v', 'row')
  if not found[1] then return '0', nil end
  return found[1], cjson.decode(found[2])
end

local function define(name, work)
  redis.register_function(name, function(_, args)
    local what = name .. ' ' .. (args[OWN] or '')
    return refused_or_done(what, args) or work(args, what)
  end)
end

local reads = {}

local function define_read(name, work)
  reads[name] = work
  redis.register_function {
    function_name = name,
    callback = function(_, args) return work(args) end,
    flags = { 'no-writes' },
  }
end

-- by read: its name or HMGET, how many arguments it takes, they -> the answer of each
define_read('reads', function(args)
  local answers, at = {}, 1
  while at <= #args do
    local name, last = args[at], at + 1 + tonumber(args[at + 1])
    if name == 'HMGET' then
      answers[#answers + 1] = redis.call('HMGET', unpack(args, at + 2, last))
    else
      answers[#answers + 1] = reads[name]({ unpack(args, at + 2, last) })
    end
    at = last + 1
  end
  return answers
end)

define_read('desk_version', function() return { '@VERSION@', '@DIGEST@' } end)

-- leases ----------------------------------------------------------------------------------------

local function wall_ms()
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
end

local function set_deadline(key, ttl_ms)
  redis.call('HSET', key, 'deadline_ms', string.format('%.0f', wall_ms() + tonumber(ttl_ms)))
end

-- role, owner, ttl_ms -> OK epoch
define('lease_acquire', function(args, what)
  local role, owner, ttl_ms = unpack(args, OWN)
  local key = 'lease:' .. role
  local epoch = redis.call('HINCRBY', key, 'epoch', 1)
  redis.call('HSET', key, 'owner', owner)
  set_deadline(key, ttl_ms)
  return finish(what, args, { 'OK', tostring(epoch) })
end)

-- role, ttl_ms -> OK; the fence itself is checked like any other
define('lease_renew', function(args, what)
  local role, ttl_ms = unpack(args, OWN)
  set_deadline('lease:' .. role, ttl_ms)
  return finish(what, args, { 'OK' })
end)

-- orders ----------------------------------------------------------------------------------------

local function is_killed(account)
  return redis.call('EXISTS', 'risk:kill:' .. account, 'risk:kill:all') > 0
end

-- Whether the agent of a run was stopped by its own switch.
local function is_agent_killed(run)
  local _, stored_run = document('run/' .. run)
  if not stored_run then return false end
  local _, agent = document('agent/' .. stored_run.agent_id)
  return agent ~= nil and agent.kill_switch == true
end

local function reserve(account, cid, reserved)
  if reserved == '' then
    redis.call('HDEL', 'res:' .. account, cid)
  else
    redis.call('HSET', 'res:' .. account, cid, reserved)
  end
end

-- client order id, account, trade id, state, created_ms, reduce only, reserved, ledger v, row,
-- request that has to be done or empty, then by document that it was judged by: kind/key, v
-- -> OK row: of the new order, or of the one that was there
define('order_intent', function(args, what)
  local cid, account, trade, state, created, reduce_only, reserved, ledger_v, row, after =
    unpack(args, OWN)
  local key = 'ord:' .. cid
  local existing = redis.call('HGET', key, 'row')
  if existing then return { 'OK', existing } end
  if state ~= 'intent' then return { 'ILLEGAL', 'none', state } end
  if after ~= '' and redis.call('EXISTS', 'req:' .. after) == 0 then
    return { 'CONFLICT', 'req:' .. after, '0' }
  end
  if reduce_only == '0' and is_killed(account) then return { 'LIMIT', 'kill_switch' } end
  local ledger_key = 'led:' .. account
  local found_v = version_of(ledger_key)
  if found_v == '0' or found_v ~= ledger_v then return { 'CONFLICT', ledger_key, found_v } end
  for at = OWN + 10, #args, 2 do
    local doc_key = 'doc:' .. args[at]
    local doc_v = version_of(doc_key)
    if doc_v ~= args[at + 1] then return { 'CONFLICT', doc_key, doc_v } end
  end

  redis.call('HSET', key, 'v', '1', 'epoch', args[4], 'state', state, 'account', account,
    'reduce_only', reduce_only, 'created_ms', created, 'row', row)
  redis.call('ZADD', 'ordx:open:' .. account, created, cid)
  redis.call('ZADD', 'ordx:trade:' .. trade, created, cid)
  redis.call('ZADD', 'ordx:trades', 'LT', created, trade)
  redis.call('ZADD', 'ordx:trades:' .. account, 'LT', created, trade)
  reserve(account, cid, reserved)
  redis.call('HSET', ledger_key, 'v', next_version(found_v))
  return finish(what, args, { 'OK', row })
end)

-- Returns an answer when the order may not move from where it is.
local function move_refused(cid, expected_v, to)
  local key = 'ord:' .. cid
  local found = redis.call('HMGET', key, 'v', 'state', 'account', 'reduce_only')
  local found_v, from, account, reduce_only = found[1] or '0', found[2], found[3], found[4]
  if found_v == '0' or found_v ~= expected_v then return { 'CONFLICT', key, found_v } end
  if not LEGAL[from .. '>' .. to] then return { 'ILLEGAL', from, to } end
  if to == 'sending' and from ~= to and reduce_only == '0' and is_killed(account) then
    return { 'LIMIT', 'kill_switch' }
  end
  return nil
end

local function move(epoch, cid, to, reserved, row)
  local key = 'ord:' .. cid
  local found = redis.call('HMGET', key, 'v', 'state', 'account', 'created_ms')
  local version, from, account, created = found[1], found[2], found[3], found[4]
  redis.call('HSET', key, 'v', next_version(version), 'epoch', epoch, 'state', to, 'row', row)
  if TERMINAL[to] then
    redis.call('ZREM', 'ordx:open:' .. account, cid)
    reserve(account, cid, '')
    return
  end
  reserve(account, cid, reserved)
  if TERMINAL[from] then
    redis.call('ZADD', 'ordx:open:' .. account, created, cid)
    -- The reservation is back: whoever checked limits without it must look again.
    local ledger_key = 'led:' .. account
    redis.call('HSET', ledger_key, 'v', next_version(version_of(ledger_key)))
  end
end

-- client order id, v, to, reserved, row, run of an entry that is about to be sent or empty -> OK row
define('order_transition', function(args, what)
  local cid, expected_v, to, reserved, row, run = unpack(args, OWN)
  local refusal = move_refused(cid, expected_v, to)
  if refusal then return refusal end
  if run and run ~= '' and is_agent_killed(run) then return { 'LIMIT', 'kill_switch' } end
  move(args[4], cid, to, reserved, row)
  return finish(what, args, { 'OK', row })
end)

-- client order id, v, to, reserved, row, account, fill id, filled_ms, fill row, ledger v, ledger row
-- -> OK row ledger row | DUP
define('fill_apply', function(args, what)
  local cid, expected_v, to, reserved, row, account, fill_id, filled_ms, fill_row, ledger_v, ledger_row =
    unpack(args, OWN)
  local member = account .. ':' .. fill_id
  if redis.call('EXISTS', 'fill:' .. member) == 1 then return { 'DUP' } end
  local refusal = move_refused(cid, expected_v, to)
  if refusal then return refusal end
  local ledger_key = 'led:' .. account
  local found_v = version_of(ledger_key)
  if found_v == '0' or found_v ~= ledger_v then return { 'CONFLICT', ledger_key, found_v } end

  redis.call('HSET', 'fill:' .. member, 'client_order_id', cid, 'row', fill_row)
  redis.call('ZADD', 'ordx:fills:' .. cid, filled_ms, member)
  move(args[4], cid, to, reserved, row)
  redis.call('HSET', ledger_key, 'v', next_version(ledger_v), 'row', ledger_row)
  return finish(what, args, { 'OK', row, ledger_row })
end)

-- ledger and kill flags -------------------------------------------------------------------------

-- account, row -> OK v row: of the new ledger, or of the one that was there
define('ledger_create', function(args, what)
  local account, row = unpack(args, OWN)
  local key = 'led:' .. account
  local found = redis.call('HMGET', key, 'v', 'row')
  if found[1] then return { 'OK', found[1], found[2] } end
  redis.call('HSET', key, 'v', '1', 'row', row)
  return finish(what, args, { 'OK', '1', row })
end)

-- account, v, row -> OK v row
define('ledger_move', function(args, what)
  local account, expected_v, row = unpack(args, OWN)
  local key = 'led:' .. account
  local found_v = version_of(key)
  if found_v == '0' or found_v ~= expected_v then return { 'CONFLICT', key, found_v } end
  local version = next_version(found_v)
  redis.call('HSET', key, 'v', version, 'row', row)
  return finish(what, args, { 'OK', version, row })
end)

-- account:adjustment id, account, at_ms, adjustment row, ledger v, ledger row -> OK v row | DUP
define('recon_adjust', function(args, what)
  local member, account, at_ms, row, ledger_v, ledger_row = unpack(args, OWN)
  if redis.call('EXISTS', 'adj:' .. member) == 1 then return { 'DUP' } end
  local ledger_key = 'led:' .. account
  local found_v = version_of(ledger_key)
  if found_v == '0' or found_v ~= ledger_v then return { 'CONFLICT', ledger_key, found_v } end

  local version = next_version(found_v)
  redis.call('HSET', 'adj:' .. member, 'row', row)
  redis.call('ZADD', 'ordx:adjustments:' .. account, at_ms, member)
  redis.call('HSET', ledger_key, 'v', version, 'row', ledger_row)
  return finish(what, args, { 'OK', version, ledger_row })
end)

-- scope, on, reason -> OK
define('kill_set', function(args, what)
  local scope, on, reason = unpack(args, OWN)
  if on == '1' then
    redis.call('HSET', 'risk:kill:' .. scope, 'reason', reason, 'at_ms', args[9])
  else
    redis.call('DEL', 'risk:kill:' .. scope)
  end
  return finish(what, args, { 'OK' })
end)

-- documents and events --------------------------------------------------------------------------

-- kind/key, kind, key, at_ms, expected v or empty, row -> OK v at_ms row
define('doc_put', function(args, what)
  local name, kind, key, at_ms, expected_v, row = unpack(args, OWN)
  local doc_key = 'doc:' .. name
  local found_v = version_of(doc_key)
  if expected_v ~= '' and expected_v ~= found_v then return { 'CONFLICT', doc_key, found_v } end
  local version = next_version(found_v)
  redis.call('HSET', doc_key, 'v', version, 'at_ms', at_ms, 'row', row)
  redis.call('ZADD', 'docx:' .. kind, at_ms, key)
  return finish(what, args, { 'OK', version, at_ms, row })
end)

-- kind/key, kind, key -> OK
define('doc_delete', function(args, what)
  local name, kind, key = unpack(args, OWN)
  redis.call('DEL', 'doc:' .. name)
  redis.call('ZREM', 'docx:' .. kind, key)
  return finish(what, args, { 'OK' })
end)

-- kind, highest score, lowest score, limit -> [key, v, at_ms, row, ...] newest first
define_read('doc_list', function(args)
  local kind, highest, lowest, limit = unpack(args)
  local keys = redis.call('ZREVRANGEBYSCORE', 'docx:' .. kind, highest, lowest, 'LIMIT', 0, limit)
  local rows = {}
  for _, key in ipairs(keys) do
    local found = redis.call('HMGET', 'doc:' .. kind .. '/' .. key, 'v', 'at_ms', 'row')
    rows[#rows + 1] = key
    for field = 1, 3 do rows[#rows + 1] = found[field] end
  end
  return rows
end)

-- the audit -------------------------------------------------------------------------------------
-- Rows are documents of one kind whose keys are their places; the head says where the chain ends.
-- The hashes are computed by the caller: the functions only let one row follow the head it names.

local AUDIT, AUDIT_HEAD, AUDIT_IDS = 'audit_row', 'audit:head', 'audit:ids'

-- audit id, key, at_ms, place of the row before, sha256, row
-- -> OK row: of the new row, or of the one that was there
define('audit_append', function(args, what)
  local id, key, at_ms, before, sha256, row = unpack(args, OWN)
  local known = redis.call('HGET', AUDIT_IDS, id)
  if known then return { 'OK', redis.call('HGET', 'doc:' .. AUDIT .. '/' .. known, 'row') or '' } end
  local seq = redis.call('HGET', AUDIT_HEAD, 'seq') or '0'
  if seq ~= before then return { 'CONFLICT', AUDIT_HEAD, seq } end
  redis.call('HSET', 'doc:' .. AUDIT .. '/' .. key, 'v', '1', 'at_ms', at_ms, 'row', row)
  redis.call('ZADD', 'docx:' .. AUDIT, at_ms, key)
  redis.call('HSET', AUDIT_IDS, id, key)
  redis.call('HSET', AUDIT_HEAD, 'seq', next_version(seq), 'sha256', sha256)
  return finish(what, args, { 'OK', row })
end)

-- place of the last row to go, then by row: audit id, key -> OK
define('audit_trim', function(args, what)
  local through = args[OWN]
  for at = OWN + 1, #args, 2 do
    redis.call('HDEL', AUDIT_IDS, args[at])
    redis.call('DEL', 'doc:' .. AUDIT .. '/' .. args[at + 1])
    redis.call('ZREM', 'docx:' .. AUDIT, args[at + 1])
  end
  redis.call('HSET', AUDIT_HEAD, 'trimmed_seq', through)
  return finish(what, args, { 'OK' })
end)

-- -> place, sha256, place of the last row that left the store, number of rows here
define_read('audit_head', function()
  local head = redis.call('HMGET', AUDIT_HEAD, 'seq', 'sha256', 'trimmed_seq')
  return { head[1] or '0', head[2] or '', head[3] or '0',
    tostring(redis.call('ZCARD', 'docx:' .. AUDIT)) }
end)

-- keys -> rows in this order, an empty one for each that is not there
define_read('audit_rows', function(args)
  local rows = {}
  for at, key in ipairs(args) do
    rows[at] = redis.call('HGET', 'doc:' .. AUDIT .. '/' .. key, 'row') or ''
  end
  return rows
end)

-- index, key prefix -> rows in the order of the index
define_read('rows_of', function(args)
  local rows = {}
  for _, member in ipairs(redis.call('ZRANGE', args[1], 0, -1)) do
    rows[#rows + 1] = redis.call('HGET', args[2] .. member, 'row')
  end
  return rows
end)

-- -> OK entry id
define('emit', function(args, what)
  return remember(what, args, { 'OK', append_event(args) })
end)

-- cap, then by sample: name, recorded_at_ms, payload -> OK
-- Entry ids carry the market time of the sample, or of the newest before it, so that a range of
-- ids holds at least every sample recorded in that time.
define('record_samples', function(args, what)
  local cap = args[OWN]
  for at = OWN + 1, #args, 3 do
    local key, recorded_ms, payload = 'metrics:' .. args[at], args[at + 1], args[at + 2]
    local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
    if newest then
      local newest_ms = string.match(newest[1], '^%d+')
      if tonumber(newest_ms) > tonumber(recorded_ms) then recorded_ms = newest_ms end
    end
    redis.call('XADD', key, 'MAXLEN', '~', cap, recorded_ms .. '-*', 'sample', payload)
  end
  return remember(what, args, { 'OK' })
end)

-- the active version ----------------------------------------------------------------------------

local VERSION_MOVES = { @VERSION_MOVES@ }

-- What speaks against the evaluation that a promotion rests on: it is gone or was changed, it is no
-- pass of this version on this pair, its candles are not the ones on record, or a newer one of this
-- version and pair has been stored.
local function gate_refused(version_id, pair, evaluation_id, evaluation_v, dataset_sha256)
  local key = 'doc:evaluation/' .. evaluation_id
  local found_v, report = document('evaluation/' .. evaluation_id)
  if found_v == '0' or found_v ~= evaluation_v then return { 'CONFLICT', key, found_v } end
  if report.verdict ~= 'pass' or report.version_id ~= version_id or report.pair ~= pair then
    return { 'ILLEGAL', 'gate ' .. report.verdict, version_id }
  end
  local _, dataset = document('dataset/' .. report.dataset_id)
  if report.dataset_sha256 ~= dataset_sha256 or not dataset or dataset.sha256 ~= dataset_sha256 then
    return { 'ILLEGAL', 'gate on another dataset', version_id }
  end
  local stored_ms = redis.call('HGET', key, 'at_ms')
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', 'docx:evaluation', stored_ms, '+inf')) do
    local other_v, newer = document('evaluation/' .. other)
    local is_newer = newer.created_ms > report.created_ms
      or (newer.created_ms == report.created_ms and other > evaluation_id)
    if is_newer and newer.version_id == version_id and newer.pair == pair then
      return { 'CONFLICT', 'doc:evaluation/' .. other, other_v }
    end
  end
  return nil
end

-- What speaks against going back to a version: its record does not say that this evaluation
-- promoted it.
local function record_refused(version_id, evaluation_id)
  local _, version = document('version/' .. version_id)
  local promoted_ms = version and version.promoted_at_ms
  if type(promoted_ms) ~= 'number' or version.promoted_by_evaluation_id ~= evaluation_id then
    return { 'ILLEGAL', 'never promoted', version_id }
  end
  return nil
end

-- What speaks against moving versions: one is not where the caller saw it, or may not go there.
local function moves_refused(args, first)
  for at = first, #args, 3 do
    local name = 'version/' .. args[at]
    local found_v, version = document(name)
    if found_v == '0' or found_v ~= args[at + 1] then return { 'CONFLICT', 'doc:' .. name, found_v } end
    local to = cjson.decode(args[at + 2]).status
    if version.status ~= to and not VERSION_MOVES[version.status .. '>' .. to] then
      return { 'ILLEGAL', version.status, to }
    end
  end
  return nil
end

-- agent id, expected v, version id, evaluation id, evaluation v or empty to go back, pair, row,
-- dataset sha256, then by version that moves with the pointer: id, expected v, row
-- -> OK v at_ms row
define('model_flip', function(args, what)
  local agent_id, expected_v, version_id, evaluation_id, evaluation_v, pair, row, dataset_sha256 =
    unpack(args, OWN)
  local moves = OWN + 8
  local key = 'doc:agent/' .. agent_id
  local found = redis.call('HMGET', key, 'v', 'at_ms')
  local found_v = found[1] or '0'
  if found_v == '0' or found_v ~= expected_v then return { 'CONFLICT', key, found_v } end
  local refusal
  if evaluation_v == '' then
    refusal = record_refused(version_id, evaluation_id)
  else
    refusal = gate_refused(version_id, pair, evaluation_id, evaluation_v, dataset_sha256)
  end
  refusal = refusal or moves_refused(args, moves)
  if refusal then return refusal end
  for at = moves, #args, 3 do
    local moved_key = 'doc:version/' .. args[at]
    redis.call('HSET', moved_key, 'v', next_version(args[at + 1]), 'row', args[at + 2])
  end
  local version = next_version(found_v)
  redis.call('HSET', key, 'v', version, 'row', row)
  return finish(what, args, { 'OK', version, found[2], row })
end)

-- requests that happen once ---------------------------------------------------------------------

local function mark(key, kept_ms, ...)
  redis.call('HSET', key, ...)
  redis.call('PEXPIRE', key, kept_ms)
end

-- name, fingerprint, claim, now_ms, lease_ms, kept_ms -> OK begun | in_flight | other_body | done answer
define('idem_begin', function(args, what)
  local name, fingerprint, claim, now_ms, lease_ms, kept_ms = unpack(args, OWN)
  local key = 'idem:' .. name
  local found = redis.call('HMGET', key, 'fingerprint', 'state', 'at_ms', 'answer')
  local age_ms = tonumber(now_ms) - tonumber(found[3] or 0)
  if found[1] and age_ms < tonumber(kept_ms) then
    if found[1] ~= fingerprint then return { 'OK', 'other_body', '' } end
    if found[2] == 'done' then return { 'OK', 'done', found[4] } end
    if age_ms < tonumber(lease_ms) then return { 'OK', 'in_flight', '' } end
  end
  mark(key, kept_ms, 'fingerprint', fingerprint, 'state', 'in_flight', 'claim', claim,
    'at_ms', now_ms, 'answer', '')
  return finish(what, args, { 'OK', 'begun', '' })
end)

-- name, claim, now_ms, kept_ms, answer or empty to forget the request -> OK 1, or 0 of a lost claim
define('idem_finish', function(args, what)
  local name, claim, now_ms, kept_ms, answer = unpack(args, OWN)
  local key = 'idem:' .. name
  local found = redis.call('HMGET', key, 'state', 'claim')
  if found[1] ~= 'in_flight' or found[2] ~= claim then return { 'OK', '0' } end
  if answer == '' then
    redis.call('DEL', key)
  else
    mark(key, kept_ms, 'state', 'done', 'at_ms', now_ms, 'answer', answer)
  end
  return finish(what, args, { 'OK', '1' })
end)

-- turns at the venue -----------------------------------------------------------------------------

-- Processes behind one address take turns, first by priority, then by who has waited longest. A taker
-- stands in a queue at most once, says when it will be back, and is dropped when it is not: a killed
-- process holds nobody up for longer than TURN_GRACE_MS. Times are ms with fractions; an empty "now"
-- means the server's own clock, so that the clocks of the takers need not agree.
local TURN_GRACE_MS = 2000
local TURN_HORIZON_MS = 60000 -- no slot lies further ahead: a clock that was put back stops nobody
local TURNS_KEPT_MS = 600000
local PRIORITY_STEP = 1e14
local TURN_CATCH_UP = 0.05 -- of a spacing: what a taker that came back late loses to nobody

local function turn_now(given)
  if given ~= '' then return tonumber(given) end
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000 + tonumber(now[2]) / 1000
end

local function as_ms(number) return string.format('%.3f', number) end

local function not_beyond(found, now, most_ms)
  local at = tonumber(found or 0)
  if at > now + most_ms then return now end
  return at
end

-- address, lane, taker, priority, spacing_ms, now or '' -> OK ms to wait, 0.000 when the turn is taken
define('turn_ask', function(args, what)
  local address, lane, taker, priority, spacing, given = unpack(args, OWN)
  local now, spacing_ms = turn_now(given), tonumber(spacing)
  local lane_key, queue, backs = 'turn:' .. lane, 'turnq:' .. lane, 'turnb:' .. lane

  local promised = redis.call('HGETALL', backs)
  for at = 1, #promised, 2 do
    if tonumber(promised[at + 1]) + TURN_GRACE_MS < now then
      redis.call('ZREM', queue, promised[at])
      redis.call('HDEL', backs, promised[at])
    end
  end

  local trouble = redis.call('HMGET', 'turna:' .. address, 'slow_ms', 'hold_ms')
  if not_beyond(trouble[1], now, TURN_HORIZON_MS) > now then spacing_ms = spacing_ms * 2 end
  local free = not_beyond(redis.call('HGET', lane_key, 'free_ms'), now, TURN_HORIZON_MS)
  free = math.max(free, not_beyond(trouble[2], now, TURN_HORIZON_MS))

  local known = redis.call('ZSCORE', queue, taker)
  local arrived = known and math.fmod(tonumber(known), PRIORITY_STEP) or now
  redis.call('ZADD', queue, as_ms(tonumber(priority) * PRIORITY_STEP + arrived), taker)
  local rank = redis.call('ZRANK', queue, taker)
  local wait = math.max(free - now, 0) + rank * spacing_ms
  if wait <= 0 then
    redis.call('ZREM', queue, taker)
    redis.call('HDEL', backs, taker)
    local late = now - free
    local begun = late < spacing_ms and now - math.min(late, TURN_CATCH_UP * spacing_ms) or now
    redis.call('HSET', lane_key, 'free_ms', as_ms(begun + spacing_ms))
  else
    redis.call('HSET', backs, taker, as_ms(now + wait))
  end
  for _, key in ipairs({ lane_key, queue, backs }) do redis.call('PEXPIRE', key, TURNS_KEPT_MS) end
  return finish(what, args, { 'OK', as_ms(wait) })
end)

-- lane, taker -> OK
define('turn_leave', function(args, what)
  local lane, taker = unpack(args, OWN)
  redis.call('ZREM', 'turnq:' .. lane, taker)
  redis.call('HDEL', 'turnb:' .. lane, taker)
  return finish(what, args, { 'OK' })
end)

-- address, ms of half speed, ms without any turn, now or '' -> OK
define('turn_hinder', function(args, what)
  local address, slow, hold, given = unpack(args, OWN)
  local now, key = turn_now(given), 'turna:' .. address
  for field, span in pairs({ slow_ms = slow, hold_ms = hold }) do
    local until_ms = now + math.min(tonumber(span), TURN_HORIZON_MS)
    local known = not_beyond(redis.call('HGET', key, field), now, TURN_HORIZON_MS)
    redis.call('HSET', key, field, as_ms(math.max(known, until_ms)))
  end
  redis.call('PEXPIRE', key, TURNS_KEPT_MS)
  return finish(what, args, { 'OK' })
end)

-- what older releases left ----------------------------------------------------------------------

local CANDLES_FORM = 'candles:form' -- '2': a chunk is a string; before, it was a hash by slot

-- -> 1 while `upgrade` has work
define_read('upgrade_is_due', function()
  if redis.call('GET', CANDLES_FORM) ~= '2' then return 1 end
  return redis.call('EXISTS', 'docx:idem')
end)

-- series, chunks -> OK how many were hashes by slot (2 bytes, big-endian) and are strings now
define('upgrade_candles', function(args, what)
  local moved = 0
  for at = OWN + 1, #args do
    local key = 'c:' .. args[OWN] .. ':' .. args[at]
    if redis.call('TYPE', key).ok == 'hash' then
      local records = redis.call('HGETALL', key)
      redis.call('DEL', key)
      for field = 1, #records, 2 do
        redis.call('SETRANGE', key, struct.unpack('>H', records[field]) * 40, records[field + 1])
      end
      moved = moved + 1
    end
  end
  return finish(what, args, { 'OK', tostring(moved) })
end)

-- time for which answers are kept -> OK how many; version 1 kept answers of requests as documents.
-- To be called when all candles have been upgraded.
define('upgrade', function(args, what)
  local kept_ms = args[OWN]
  local names = redis.call('ZRANGE', 'docx:idem', 0, -1)
  for _, name in ipairs(names) do
    local stored = redis.call('HMGET', 'doc:idem/' .. name, 'row', 'at_ms')
    local old = cjson.decode(stored[1])
    local answer = old.state == 'done' and stored[1] or ''
    mark('idem:' .. name, kept_ms, 'fingerprint', old.fingerprint, 'state', old.state,
      'claim', '', 'at_ms', stored[2], 'answer', answer)
    redis.call('DEL', 'doc:idem/' .. name)
  end
  redis.call('DEL', 'docx:idem')
  redis.call('SET', CANDLES_FORM, '2')
  return finish(what, args, { 'OK', tostring(#names) })
end)

-- candles ---------------------------------------------------------------------------------------

-- A chunk is one string: the 40 bytes of its slot each, zeros where there is no candle.
local RECORD = 40

-- How many candles some records are, and the place of the first one, counted from 0.
local function candles_in(records)
  local absent, count, first = string.rep('\0', RECORD), 0, nil
  for at = 0, #records / RECORD - 1 do
    if string.sub(records, at * RECORD + 1, (at + 1) * RECORD) ~= absent then
      count, first = count + 1, first or at
    end
  end
  return count, first
end

-- Whether records differ from the stored ones where nothing new is appended: up to the newest candle.
local function is_altered(known, records, open_ms, latest, step_ms)
  local old = math.min(math.max(math.floor((latest - open_ms) / step_ms) + 1, 0) * RECORD, #records)
  return string.sub(known, 1, old) ~= string.sub(records, 1, old)
end

-- series, chunk length in ms, step in ms, then by run of neighbours: chunk, first slot, their records
-- -> OK how many open times were new
-- A chunk in which more was done than to append has the revision of that in `cver`: who holds candles
-- of it reads them again. The origin tells one life of the series from the next.
define('ingest_candles', function(args, what)
  local series, chunk_ms, step_ms = args[OWN], tonumber(args[OWN + 1]), tonumber(args[OWN + 2])
  local meta_key = 'cmeta:' .. series
  local meta = redis.call('HMGET', meta_key, 'earliest', 'latest')
  local earliest, latest = tonumber(meta[1] or math.huge), tonumber(meta[2] or -math.huge)
  local added, indexed, altered = 0, nil, {}
  for at = OWN + 3, #args, 3 do
    local chunk, slot, records = args[at], tonumber(args[at + 1]), args[at + 2]
    local key, from = 'c:' .. series .. ':' .. chunk, slot * RECORD
    local known = redis.call('GETRANGE', key, from, from + #records - 1)
    added = added + #records / RECORD - candles_in(known)
    redis.call('SETRANGE', key, from, records)
    if chunk ~= indexed then
      redis.call('ZADD', 'cidx:' .. series, chunk, chunk)
      indexed = chunk
    end
    local open_ms = tonumber(chunk) * chunk_ms + slot * step_ms
    if is_altered(known, records, open_ms, latest, step_ms) then altered[chunk] = true end
    earliest = math.min(earliest, open_ms)
    latest = math.max(latest, open_ms + (#records / RECORD - 1) * step_ms)
  end
  redis.call('HINCRBY', meta_key, 'count', added)
  local revision = redis.call('HINCRBY', meta_key, 'revision', 1)
  for chunk in pairs(altered) do redis.call('HSET', 'cver:' .. series, chunk, revision) end
  redis.call('HSETNX', meta_key, 'origin', table.concat(redis.call('TIME'), '.'))
  redis.call('HSET', meta_key, 'earliest', string.format('%.0f', earliest),
    'latest', string.format('%.0f', latest))
  return finish(what, args, { 'OK', tostring(added) })
end)

-- series, chunk length in ms, step in ms, last chunk to drop, candles expected in them (or none)
-- -> OK how many candles; 0 when others were written meanwhile
define('drop_candles', function(args, what)
  local series, chunk_ms, step_ms, last_chunk, expected = unpack(args, OWN)
  local index_key, meta_key = 'cidx:' .. series, 'cmeta:' .. series
  local dropped, chunks = 0, redis.call('ZRANGEBYSCORE', index_key, '-inf', last_chunk)
  for _, chunk in ipairs(chunks) do
    dropped = dropped + candles_in(redis.call('GET', 'c:' .. series .. ':' .. chunk))
  end
  if expected and dropped ~= tonumber(expected) then return finish(what, args, { 'OK', '0' }) end
  for _, chunk in ipairs(chunks) do
    redis.call('DEL', 'c:' .. series .. ':' .. chunk)
    redis.call('ZREM', index_key, chunk)
    redis.call('HDEL', 'cver:' .. series, chunk)
  end
  local first = redis.call('ZRANGE', index_key, 0, 0)[1]
  if not first then
    redis.call('DEL', meta_key)
  elseif dropped > 0 then
    local _, lowest = candles_in(redis.call('GET', 'c:' .. series .. ':' .. first))
    redis.call('HINCRBY', meta_key, 'count', -dropped)
    redis.call('HINCRBY', meta_key, 'revision', 1)
    redis.call('HSET', meta_key, 'earliest',
      string.format('%.0f', tonumber(first) * tonumber(chunk_ms) + lowest * tonumber(step_ms)))
  end
  return finish(what, args, { 'OK', tostring(dropped) })
end)

-- series, chunks to skip, most chunks, slots wanted -> by chunk, newest first, as candle_chunks
define_read('last_chunks', function(args)
  local skipped, most, wanted = tonumber(args[2]), tonumber(args[3]), tonumber(args[4])
  local chunks = {}
  for _, number in ipairs(redis.call('ZREVRANGE', 'cidx:' .. args[1], skipped, skipped + most - 1)) do
    if wanted <= 0 then break end
    local records = redis.call('GET', 'c:' .. args[1] .. ':' .. number)
    chunks[#chunks + 1] = number
    chunks[#chunks + 1] = records
    wanted = wanted - #records / RECORD
  end
  return chunks
end)

-- series, chunks -> by chunk its number and its records from slot 0 on
define_read('candle_chunks', function(args)
  local chunks = {}
  for at = 2, #args do
    chunks[#chunks + 1] = args[at]
    chunks[#chunks + 1] = redis.call('GET', 'c:' .. args[1] .. ':' .. args[at]) or ''
  end
  return chunks
end)

-- series, first and last chunk that are held, slot from which on there may be more, most chunks
-- -> origin, revision, earliest, latest, newest revision of a held chunk, then by chunk its number,
--    first slot and records, oldest first; nothing for an empty series
define_read('candles_after', function(args)
  local series, first, last = args[1], tonumber(args[2]), tonumber(args[3])
  local slot, most = tonumber(args[4]), tonumber(args[5])
  local meta = redis.call('HMGET', 'cmeta:' .. series, 'origin', 'revision', 'earliest', 'latest')
  if not meta[3] then return {} end
  local held, newest = {}, 0
  for chunk = first, last do held[#held + 1] = string.format('%.0f', chunk) end
  for _, revision in ipairs(redis.call('HMGET', 'cver:' .. series, unpack(held))) do
    newest = math.max(newest, tonumber(revision or 0))
  end
  local found = { meta[1] or '', meta[2], meta[3], meta[4], tostring(newest) }
  for _, chunk in ipairs(redis.call('ZRANGEBYSCORE', 'cidx:' .. series, last, '+inf', 'LIMIT', 0, most)) do
    local from = tonumber(chunk) == last and slot or 0
    found[#found + 1] = chunk
    found[#found + 1] = tostring(from)
    found[#found + 1] = redis.call('GETRANGE', 'c:' .. series .. ':' .. chunk, from * RECORD, -1)
  end
  return found
end)
