// Package server wires a whole Isolde server: store, images, driver,
// sessions and the HTTP planes on one port. The isolde command and the
// end-to-end tests start the same [Server].
package server

import (
	"log/slog"
	"time"

	"github.com/isolde-run/isolde/agentcore"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/catalog"
)

// DefaultListen is where a server listens and where clients look for one.
const DefaultListen = "127.0.0.1:4765"

// Config says how a server runs. The zero value is a server for this machine
// with defaults.
type Config struct {
	Listen  string // host:port; default DefaultListen; port 0 takes a free one; without Keys, loopback only
	DataDir string // default DefaultDataDir()
	Driver  string // "gvisor", "process", or "" for the best that can run here
	Region  string // in ARNs; default "us-east-1"
	Account string // in ARNs; default "000000000000"
	Runsc   string // path of runsc; default: beside the executable, then PATH
	Version string // of the program, for /isolde/v1/info

	// Keys are asked for by everything but agent runtimes with an authorizer
	// of their own and /healthz. Nil: nobody is asked for credentials.
	Keys *auth.Keys
	// BindSessions says whose sessions no one else may enter; default
	// agentcore.BindJWT.
	BindSessions agentcore.Binding
	// TLSCert and TLSKey are PEM files of the server's certificate chain and its key.
	// Empty: plain HTTP.
	TLSCert, TLSKey string
	// SpoolMemory and SpoolDisk bound, in bytes, what is kept of all bodies
	// together that must be hashed before an agent may see them; callers beyond it get
	// ThrottlingException. Default DefaultSpoolMemory and DefaultSpoolDisk.
	SpoolMemory, SpoolDisk int64

	// S3Endpoint is the URL of the S3-compatible store that code artifacts are
	// fetched from, e.g. "https://s3.us-east-1.amazonaws.com", with the
	// credentials of the server's environment. Empty: the server has a store
	// of its own, under its data directory and on its port.
	S3Endpoint string
	S3Region   string // of S3Endpoint; default Region
	// KeepVersions is how many of an agent's newest versions are kept although
	// nothing uses them; default 10.
	KeepVersions int

	// AllowMounts are the folders of this machine that agents may see, if their
	// versions ask for them. Their paths are absolute.
	AllowMounts []catalog.AllowedFolder

	// NoContentDefaults passes Content-Type and Accept to agents exactly as
	// clients send them or leave them out. By default what default clients of
	// the AWS SDKs leave open is filled in, since agents on the official
	// TypeScript SDK answer 415 and 406 without.
	NoContentDefaults bool
	// ExposeAgentErrors puts what an agent says with an error (status 400 and
	// above) into the message that the API's caller gets. By default, as on
	// AWS, only the agent's owner sees it.
	ExposeAgentErrors bool
	// AllowScripts lets builds run the code of packages (source
	// distributions, npm scripts) on this machine.
	AllowScripts bool
	// StopSessions ends all sessions in Close, instead of leaving them to the
	// next server on the same data directory.
	StopSessions bool
	// InitTimeout bounds a session's start until its first healthy ping;
	// default 120 s, AgentCore's own bound.
	InitTimeout time.Duration
	// DrainTimeout bounds how long Close waits for running requests; default 30 s.
	DrainTimeout time.Duration

	Limits Limits

	Logger *slog.Logger // default: discards
}
