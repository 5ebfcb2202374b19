// Command crowd is an agent that starts at once and takes little memory, for
// tests of many sessions. It counts its calls in memory and in a file, prints
// each, and ends as it is told.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	if os.Getenv("FAIL_AT_START") != "" {
		fmt.Println("cannot start")
		os.Exit(3)
	}
	time.Sleep(delay(os.Getenv("START_AFTER")))
	count := 0
	http.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"status":"Healthy"}`)
	})
	http.HandleFunc("POST /invocations", func(w http.ResponseWriter, r *http.Request) {
		var do struct {
			Exit bool
		}
		if err := json.NewDecoder(r.Body).Decode(&do); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if do.Exit {
			os.Exit(7)
		}
		count++
		file, err := os.OpenFile("calls", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = file.WriteString(".")
			file.Close()
		}
		info, err2 := os.Stat("calls")
		if err != nil || err2 != nil {
			http.Error(w, fmt.Sprint(err, err2), http.StatusInternalServerError)
			return
		}
		fmt.Println("call", count)
		fmt.Fprintf(w, `{"count":%d,"files":{"cwd":%d}}`, count, info.Size())
	})
	fmt.Println(http.ListenAndServe(":8080", nil))
	os.Exit(1)
}

func delay(text string) time.Duration {
	d, _ := time.ParseDuration(text) // empty: none
	return d
}
