# shellcheck shell=bash
# Programs in the background: each has its log and its pid in a folder that is on its command line.

# launch FOLDER NAME COMMAND...
launch() {
  local folder=$1 name=$2
  shift 2
  setsid "$@" >>"$folder/$name.log" 2>&1 </dev/null &
  echo $! >"$folder/$name.pid"
}

# runs FOLDER NAME: the pid may belong to another process by now, so the command line is checked
runs() {
  local pid
  pid=$(cat "$1/$2.pid" 2>/dev/null) && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$1"
}

# await FOLDER NAME SECONDS COMMAND...: waits until COMMAND succeeds, while the program runs
await() {
  local folder=$1 name=$2 seconds=$3 until=$((SECONDS + $3))
  shift 3
  until "$@" >/dev/null 2>&1; do
    if ! runs "$folder" "$name"; then
      give_up "$folder" "$name" "it ended"
    elif [ "$SECONDS" -ge "$until" ]; then
      give_up "$folder" "$name" "it is not ready after $seconds s"
    fi
    sleep 0.05
  done
}

# give_up FOLDER NAME WHY: prints the end of the program's output
give_up() {
  echo "$2: $3. The end of $1/$2.log:" >&2
  tail -n 20 "$1/$2.log" >&2
  exit 1
}

# stop FOLDER NAME: sends SIGTERM, and SIGKILL after 5 s
stop() {
  local pid i
  runs "$1" "$2" || return 0
  pid=$(cat "$1/$2.pid")
  kill "$pid" 2>/dev/null || true
  for ((i = 0; i < 100; i++)); do
    runs "$1" "$2" || break
    sleep 0.05
  done
  if runs "$1" "$2"; then kill -9 "$pid" 2>/dev/null || true; fi
  rm -f "$1/$2.pid"
}
