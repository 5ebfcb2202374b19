package server

import (
	"net/http"

	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/identity"
	"github.com/isolde-run/isolde/objects"
)

// services are the AWS services beside AgentCore that this server answers
// for, by the name that their requests are signed for.
type services map[string]http.Handler

// openServices opens the server's own S3, unless another is configured, and
// STS and IAM. code is where code artifacts come from.
func (s *Server) openServices(access *access) (all services, code catalog.Objects, err error) {
	cfg := &s.cfg
	id, err := identity.Open(identity.Config{File: s.dir(identityFile), Account: cfg.Account, Logger: cfg.Logger, Keys: cfg.Keys})
	if err != nil {
		return nil, nil, err
	}
	all = services{"sts": access.serviceOnly("sts", id.Handler()), "iam": access.serviceOnly("iam", id.Handler())}
	if cfg.S3Endpoint != "" {
		remote, err := objects.Dial(objects.RemoteConfig{Endpoint: cfg.S3Endpoint, Region: cfg.S3Region})
		if err != nil {
			return nil, nil, err
		}
		s.onClose(func() error {
			remote.Close()
			return nil
		})
		return all, remote, nil
	}
	own, err := objects.Open(objects.Config{Dir: s.dir(objectsDir), Logger: cfg.Logger})
	if err != nil {
		return nil, nil, err
	}
	s.onClose(own.Close)
	all["s3"] = access.serviceOnly("s3", own.Handler())
	return all, own, nil
}

// route hands requests that are signed for one of the services to it, and all
// others to next. S3's paths could be anything, so the path does not tell.
func (all services) route(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := all[identity.SignedFor(r)]; h != nil {
			h.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
