package main

import (
	"encoding/json"
	"net/http"
	"time"
)

// GET / is a request. For tests: POST /admin/ready, /admin/unready, /admin/latency?of=5ms.
func overHTTP(work *work, ready *readiness) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if work.do(r.Context()) == nil {
			answer(w, work.who)
		}
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !ready.ready.Load() {
			http.Error(w, "unready", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /admin/ready", func(w http.ResponseWriter, r *http.Request) { ready.set(true) })
	mux.HandleFunc("POST /admin/unready", func(w http.ResponseWriter, r *http.Request) { ready.set(false) })
	mux.HandleFunc("POST /admin/latency", func(w http.ResponseWriter, r *http.Request) {
		latency, err := time.ParseDuration(r.FormValue("of"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		work.latency.Store(int64(latency))
	})
	mux.HandleFunc("GET /admin/served", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]int64{"served": work.served.Load(), "running": work.running.Load()})
	})
	return mux
}

func answer(w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(what)
}
