package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/isolde-run/isolde"
)

// registry is the repository of an image in a registry.
type registry struct {
	ref    name.Reference
	puller *remote.Puller
}

// openRegistry looks an image up in its registry.
func (s *Store) openRegistry(ctx context.Context, text string) (*container, error) {
	ref, err := name.ParseReference(text)
	if err != nil {
		return nil, isolde.Errorf(isolde.CodeInvalid, "%q is no image reference: %w", text, err).
			WithHint("it reads like public.ecr.aws/docker/library/python:3.13-slim, localhost:5000/agent:1, oci:/PATH/OF/A/LAYOUT:TAG or docker-archive:/PATH/OF/A.tar")
	}
	// Connections of its own, so that none is left when the import ends.
	connections := remote.DefaultTransport.(*http.Transport).Clone()
	connections.ResponseHeaderTimeout = s.limits.stall
	r := &registry{ref: ref}
	c := &container{name: ref.Name(), verb: "pulling", close: connections.CloseIdleConnections}
	c.open = func(ctx context.Context, b blob) (io.ReadCloser, error) { return r.blob(ctx, b.Descriptor) }
	if r.puller, err = remote.NewPuller(remote.WithTransport(connections), remote.WithAuthFromKeychain(dockerKeychain{}),
		remote.WithJobs(parallelLayers), remote.WithUserAgent("isolde")); err != nil {
		return nil, err
	}
	top, err := r.puller.Get(ctx, ref)
	if err == nil {
		err = c.read(ctx, s, r, top.Manifest)
	} else {
		err = r.explain(ctx, err)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (r *registry) manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	got, err := r.puller.Get(ctx, r.ref.Context().Digest(d.Digest.String()))
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	return got.Manifest, nil
}

func (r *registry) blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	l, err := r.puller.Layer(ctx, r.ref.Context().Digest(d.Digest.String()))
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	in, err := l.Compressed()
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	return in, nil
}

// dockerKeychain is the Docker configuration of the user who runs the server,
// with errors that say so.
type dockerKeychain struct{}

func (dockerKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return dockerKeychain{}.ResolveContext(context.Background(), target)
}

func (dockerKeychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, target)
	if err != nil {
		return nil, isolde.Errorf(isolde.CodeNotConfigured, "cannot read the credentials for %s from the Docker configuration: %w", target.RegistryStr(), err).
			WithHint("look at config.json in $DOCKER_CONFIG or ~/.docker, of the user who runs the server, and at the credential helpers it names")
	}
	return auth, nil
}

// explain makes an error for people of what went wrong with the registry.
func (r *registry) explain(ctx context.Context, err error) error {
	host := r.ref.Context().RegistryStr()
	if ctx.Err() != nil {
		if err = context.Cause(ctx); !errors.Is(err, errStalled) {
			return fmt.Errorf("pull %s: %w", r.ref.Name(), err)
		}
	}
	if e, ok := errors.AsType[*isolde.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*transport.Error](err); ok {
		return r.explainAnswer(host, e)
	}
	e := isolde.Errorf(isolde.CodeUnavailable, "cannot pull %s: %s", r.ref.Name(), brief(err.Error())).WithCause(err)
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		e.Message = fmt.Sprintf("cannot pull %s: the host %s is not found", r.ref.Name(), host)
		return e.WithHint("check the registry's name, and that this machine has a name server")
	}
	text := err.Error()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(text, syscall.ECONNREFUSED.Error()):
		e.Message = fmt.Sprintf("cannot pull %s: %s refuses connections", r.ref.Name(), host)
		return e.WithHint("is the registry running, and on this port?")
	case strings.Contains(text, "x509:") || strings.Contains(text, "tls:"):
		return e.WithHint("add the registry's certificate authority to those that this machine trusts")
	case strings.Contains(text, "HTTP response to HTTPS client"):
		return e.WithHint("registries without TLS are used on localhost and in private networks by their address only")
	}
	return e.WithHint("can this machine reach %s? try: curl -v https://%s/v2/", host, host)
}

// explainAnswer is explain for an answer of the registry, or of the server that
// it sends its callers to for a token.
func (r *registry) explainAnswer(host string, answer *transport.Error) error {
	said := fmt.Sprintf("status %d", answer.StatusCode)
	var code transport.ErrorCode
	if len(answer.Errors) > 0 {
		code = answer.Errors[0].Code
		said = brief(fmt.Sprintf("%s: %s", code, answer.Errors[0].Message))
	}
	e := isolde.Errorf(isolde.CodeUnavailable, "cannot pull %s: %s answers %s", r.ref.Name(), host, said).WithCause(answer)
	switch {
	case answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden || code == transport.UnauthorizedErrorCode || code == transport.DeniedErrorCode:
		login := "docker login " + host
		if host == name.DefaultRegistry {
			login = "docker login"
		}
		e.Code = isolde.CodeDenied
		return e.WithHint("%s, as the user who runs the server; some registries say this of an image that does not exist as well", login)
	case answer.StatusCode == http.StatusNotFound:
		e.Code = isolde.CodeNotFound
		return e.WithHint("check the name and the tag, and that the image was pushed")
	case answer.StatusCode == http.StatusTooManyRequests:
		e.Code = isolde.CodeThrottled
		return e.WithHint("wait, or log in for a higher limit: docker login")
	}
	return e.WithHint("try again; if it stays so, ask who runs %s", host)
}

// brief is the first line of a text, and not more than 200 characters of it.
func brief(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	if runes := []rune(text); len(runes) > 200 {
		text = string(runes[:200]) + "…"
	}
	return text
}
