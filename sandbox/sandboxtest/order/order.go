// Package order holds what a test says to the agent in testagent, and what
// that answers.
package order

// Order is one thing to do, sent as JSON to POST /invocations. Fields that it
// does not need are ignored.
type Order struct {
	Do      string `json:"do"` // "stream", "hangup" or a key of orders in testagent
	Key     string `json:"key,omitempty"`
	Value   string `json:"value,omitempty"`
	Path    string `json:"path,omitempty"`
	Address string `json:"address,omitempty"`
	Code    int    `json:"code,omitempty"`
	Count   int64  `json:"count,omitempty"` // of chunks, bytes or children
	Millis  int    `json:"millis,omitempty"`
}

// Reply is the JSON answer to an order, with status 500 if Error is set.
type Reply struct {
	Value string `json:"value,omitempty"`
	Error string `json:"error,omitempty"` // what the order failed with
	Info  *Info  `json:"info,omitempty"`
}

// Info is how the sandbox looks from within.
type Info struct {
	Args     []string `json:"args"`
	Env      []string `json:"env"`
	Dir      string   `json:"dir"`
	Hostname string   `json:"hostname"`
	UID      int      `json:"uid"`
	GID      int      `json:"gid"`
	PID      int      `json:"pid"`
	PIDs     []int    `json:"pids"` // that /proc shows; empty without a /proc
}
