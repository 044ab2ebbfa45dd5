-- wrk -s wrk.lua URL, with the token in the environment variable TOKEN.
local token = os.getenv("TOKEN")
if not token or token == "" then
  error("set TOKEN, for example TOKEN=$(cat user.token)")
end
wrk.headers["Authorization"] = "Bearer " .. token

function done(summary)
  local errors = summary.errors
  io.write(string.format("answers other than 2xx/3xx: %d, socket errors: %d\n", errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
