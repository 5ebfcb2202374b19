package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/internal/need"
)

var (
	fullKey   = &auth.Key{ID: "ISOLFULL", Secret: "a-secret-of-thirty-characters-1", Name: "full", Rights: auth.AllRights}
	deployKey = &auth.Key{ID: "ISOLDEPLOY", Secret: "a-secret-of-thirty-characters-2", Name: "deploy", Rights: []auth.Right{auth.Control}}
	invokeKey = &auth.Key{ID: "ISOLINVOKE", Secret: "a-secret-of-thirty-characters-3", Name: "invoke", Rights: []auth.Right{auth.Invoke}}
)

// keyServer is a server that asks for the keys, with a driver that needs nothing.
func keyServer(t *testing.T, cfg Config) *Server {
	t.Helper()
	need.NetNS(t)
	keys, err := auth.NewKeys(fullKey, deployKey, invokeKey)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen, cfg.Driver, cfg.DataDir, cfg.Keys = "127.0.0.1:0", "process", t.TempDir(), keys
	s := New(cfg)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

type static aws.Credentials

func (s static) Retrieve(context.Context) (aws.Credentials, error) { return aws.Credentials(s), nil }

func of(k *auth.Key) static {
	return static{AccessKeyID: k.ID, SecretAccessKey: string(k.Secret)}
}

func errorCode(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func TestServicesBesideAgentCoreAskForKeys(t *testing.T) {
	s := keyServer(t, Config{})
	url := aws.String(s.URL())
	stsOf := func(c static) *sts.Client {
		return sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: c})
	}
	s3Of := func(c static) *s3.Client {
		return s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: c, UsePathStyle: true})
	}
	who, err := stsOf(of(invokeKey)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || aws.ToString(who.Arn) != "arn:aws:iam::000000000000:user/invoke" {
		t.Fatalf("%+v, %v", who, err)
	}
	wrong := of(invokeKey)
	wrong.SecretAccessKey += "x"
	unknown := static{AccessKeyID: "AKIDNOBODY", SecretAccessKey: "x"}
	for want, c := range map[string]static{"SignatureDoesNotMatch": wrong, "InvalidClientTokenId": unknown} {
		if _, err := stsOf(c).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); errorCode(err) != want {
			t.Errorf("STS: %v, want %s", err, want)
		}
	}
	iamClient := iam.New(iam.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: of(invokeKey)})
	if _, err := iamClient.ListRoles(t.Context(), &iam.ListRolesInput{}); errorCode(err) != "AccessDenied" {
		t.Errorf("IAM without the right: %v", err)
	}
	for want, c := range map[string]static{"AccessDenied": of(invokeKey), "SignatureDoesNotMatch": wrong, "InvalidAccessKeyId": unknown} {
		if _, err := s3Of(c).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("b")}); errorCode(err) != want {
			t.Errorf("S3: %v, want %s", err, want)
		}
	}

	// Temporary keys have the rights of whoever asked for them.
	assume := func(by *auth.Key) static {
		made, err := stsOf(of(by)).AssumeRole(t.Context(), &sts.AssumeRoleInput{
			RoleArn: aws.String("arn:aws:iam::000000000000:role/deployer"), RoleSessionName: aws.String("test"),
		})
		if err != nil {
			t.Fatal(err)
		}
		c := made.Credentials
		return static{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken}
	}
	temporary := assume(deployKey)
	noToken := temporary
	noToken.SessionToken = ""
	content := bytes.Repeat([]byte("0123456789abcdef"), 6<<20/16)
	client := s3Of(temporary)
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("code")}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("code"), Key: aws.String("a b/c"), Body: bytes.NewReader(content)}); err != nil {
		t.Fatal(err)
	}
	out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("code"), Key: aws.String("a b/c")})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	if got, err := io.ReadAll(out.Body); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	presigned, err := s3.NewPresignClient(client).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("code"), Key: aws.String("a b/c")})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]int{presigned.URL: 200, otherSignature(presigned.URL): 403} {
		resp, err := http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("presigned: %s, want %d", resp.Status, want)
		}
	}
	if _, err := s3Of(assume(invokeKey)).ListBuckets(t.Context(), &s3.ListBucketsInput{}); errorCode(err) != "AccessDenied" {
		t.Errorf("a temporary key has more rights than its own: %v", err)
	}
	control := func(c static) error {
		_, err := bedrockagentcorecontrol.New(bedrockagentcorecontrol.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: c}).
			ListAgentRuntimes(t.Context(), &bedrockagentcorecontrol.ListAgentRuntimesInput{})
		return err
	}
	if err := control(temporary); err != nil {
		t.Error(err)
	}
	if err := control(noToken); errorCode(err) != "UnrecognizedClientException" {
		t.Errorf("a temporary key without its token: %v", err)
	}
}

// otherSignature changes the last digit of a presigned URL.
func otherSignature(url string) string {
	last := byte('0')
	if url[len(url)-1] == last {
		last = '1'
	}
	return url[:len(url)-1] + string(last)
}

// A body that is not the one that was signed reaches no handler's end.
func TestChangedBodiesAreRefused(t *testing.T) {
	s := keyServer(t, Config{})
	for _, test := range []struct {
		method, path, service string
		signed, sent          []byte
		want                  int
	}{
		{"PUT", "/bucket", "s3", nil, nil, 200},
		{"PUT", "/bucket/key", "s3", []byte("signed"), []byte("change"), 400}, // as S3 answers
		{"PUT", "/bucket/key", "s3", bytes.Repeat([]byte("s"), 1<<20), bytes.Repeat([]byte("c"), 1<<20), 400},
		{"PUT", "/isolde/v1/agents/x/endpoints/e", "bedrock-agentcore", []byte(`{"version":1}`), []byte(`{"version":2}`), 403},
		{"PUT", "/isolde/v1/agents/x/endpoints/e", "bedrock-agentcore", []byte(`{"version":1}`), append([]byte(`{"version":2}`), bytes.Repeat([]byte(" "), 1<<20)...), 403},
		{"PUT", "/bucket?versioning", "s3", []byte("<VersioningConfiguration/>"), append([]byte("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"), bytes.Repeat([]byte(" "), 1<<20)...), 403},
		{"POST", "/isolde/v1/deployments", "bedrock-agentcore", []byte(`{"name":"a"}`), append([]byte(`{"name":"b","spec":{"agentRuntimeArtifact":{}}}`), bytes.Repeat([]byte(" "), 1<<20)...), 403},
		{"PUT", "/runtimes/", "bedrock-agentcore", []byte(`{"a":1}`), []byte(`{"a":2}`), 403},
	} {
		sum := sha256.Sum256(test.signed)
		req, err := http.NewRequestWithContext(t.Context(), test.method, s.URL()+test.path, bytes.NewReader(test.sent))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
		signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = test.service == "s3" })
		if err := signer.SignHTTP(t.Context(), aws.Credentials(of(fullKey)), req, hex.EncodeToString(sum[:]), test.service, "us-east-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != test.want {
			t.Errorf("%s %s: %s %s, want %d", test.method, test.path, resp.Status, text, test.want)
		}
	}
	if left, err := filepath.Glob(filepath.Join(s.cfg.DataDir, objectsDir, "buckets", "bucket", "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("objects: %v, %v", left, err)
	}
}

func TestPasswordsOverTLS(t *testing.T) {
	cert, key, pool := certificateFiles(t)
	s := keyServer(t, Config{TLSCert: cert, TLSKey: key})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	for _, test := range []struct {
		path, user, password string
		want                 int
	}{
		{"/healthz", "", "", 200},
		{"/console/", "", "", 401},
		{"/console/", fullKey.ID, string(fullKey.Secret), 200},
		{"/metrics", fullKey.ID, string(fullKey.Secret), 200},
		{"/metrics", fullKey.ID, "wrong", 401},
		{"/metrics", "nobody", "", 401},
		{"/metrics", invokeKey.ID, string(invokeKey.Secret), 403},
		{"/runtimes/x-0123456789/", fullKey.ID, string(fullKey.Secret), 403}, // AgentCore's API takes signatures alone
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+test.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if test.user != "" {
			req.SetBasicAuth(test.user, test.password)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if asks := resp.Header.Get("WWW-Authenticate") != ""; resp.StatusCode != test.want || asks != (test.want == 401) {
			t.Errorf("%s as %q: %s, WWW-Authenticate %q; want %d", test.path, test.user, resp.Status, resp.Header.Get("WWW-Authenticate"), test.want)
		}
	}
}

// certificateFiles are those of a server on loopback, and who trusts it.
func certificateFiles(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", pkcs8), pool
}
