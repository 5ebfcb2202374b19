package identity

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account  = "123456789012"
	trust    = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"bedrock-agentcore.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	document = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "logs:*", "Resource": "a+b%20c & <d>"}]}`
)

// bed is a service on loopback with AWS's clients for it.
type bed struct {
	*testing.T
	file    string
	service *Service
	url     string
	iam     *iam.Client
	sts     *sts.Client
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{T: t, file: filepath.Join(t.TempDir(), "identity.json")}
	b.reopen()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.service.Handler().ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	b.url = server.URL
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "any"}, nil
	})
	client := &http.Client{Transport: transport}
	b.iam = iam.New(iam.Options{Region: "us-east-1", BaseEndpoint: &b.url, HTTPClient: client, Credentials: credentials, RetryMaxAttempts: 1})
	b.sts = sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: &b.url, HTTPClient: client, Credentials: credentials, RetryMaxAttempts: 1})
	return b
}

// reopen is what a restart of the server does.
func (b *bed) reopen() {
	b.Helper()
	s, err := Open(Config{File: b.file, Account: account})
	if err != nil {
		b.Fatal(err)
	}
	b.service = s
}

func (b *bed) role(name string) *types.Role {
	b.Helper()
	out, err := b.iam.CreateRole(b.Context(), &iam.CreateRoleInput{
		RoleName: &name, AssumeRolePolicyDocument: aws.String(trust), Description: aws.String("for " + name),
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("agents")}},
	})
	if err != nil {
		b.Fatal(err)
	}
	return out.Role
}

// failed checks the code of an answer that must be an error.
func (b *bed) failed(err error, code string) {
	b.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code {
		b.Errorf("got %v, want %s", err, code)
	}
}

func decoded(t *testing.T, document *string) string {
	t.Helper()
	text, err := url.PathUnescape(aws.ToString(document)) // leaves + as it is, as Python's unquote
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRoles(t *testing.T) {
	b := newBed(t)
	ctx, name := t.Context(), aws.String("agentcore-my_agent-role")
	role := b.role(*name)
	if got := aws.ToString(role.Arn); got != "arn:aws:iam::123456789012:role/agentcore-my_agent-role" || !strings.HasPrefix(*role.RoleId, "AROA") || time.Since(*role.CreateDate) > time.Hour {
		t.Errorf("role = %+v", role)
	}
	_, err := b.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(trust)})
	if b.failed(err, "EntityAlreadyExists"); !errors.As(err, new(*types.EntityAlreadyExistsException)) {
		t.Errorf("not typed: %T", err)
	}
	if _, err := b.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("inline"), PolicyDocument: aws.String(document)}); err != nil {
		t.Fatal(err)
	}
	managed := aws.String("arn:aws:iam::aws:policy/service-role/AmazonS3ReadOnlyAccess")
	if _, err := b.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: managed}); err != nil {
		t.Fatal(err)
	}
	b.reopen()

	out, err := b.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: name})
	if err != nil || decoded(t, out.Role.AssumeRolePolicyDocument) != trust || *out.Role.Description != "for "+*name || len(out.Role.Tags) != 1 || *out.Role.MaxSessionDuration != 3600 {
		t.Fatalf("get = %+v, %v", out, err)
	}
	if err := iam.NewRoleExistsWaiter(b.iam).Wait(ctx, &iam.GetRoleInput{RoleName: name}, time.Second); err != nil {
		t.Error(err)
	}
	inline, err := b.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: name, PolicyName: aws.String("inline")})
	if err != nil || decoded(t, inline.PolicyDocument) != document {
		t.Errorf("inline = %+v, %v", inline, err)
	}
	names, err := b.iam.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: name})
	if err != nil || len(names.PolicyNames) != 1 || names.IsTruncated {
		t.Errorf("inline policies = %+v, %v", names, err)
	}
	attached, err := b.iam.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: name})
	if err != nil || *attached.AttachedPolicies[0].PolicyName != "AmazonS3ReadOnlyAccess" || *attached.AttachedPolicies[0].PolicyArn != *managed {
		t.Errorf("attached = %+v, %v", attached, err)
	}
	profiles, err := b.iam.ListInstanceProfilesForRole(ctx, &iam.ListInstanceProfilesForRoleInput{RoleName: name})
	if err != nil || len(profiles.InstanceProfiles) != 0 {
		t.Errorf("profiles = %+v, %v", profiles, err)
	}

	_, err = b.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
	b.failed(err, "DeleteConflict")
	if _, err := b.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String("inline")}); err != nil {
		t.Error(err)
	}
	_, err = b.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
	b.failed(err, "DeleteConflict")
	if _, err := b.iam.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: name, PolicyArn: managed}); err != nil {
		t.Error(err)
	}
	if _, err := b.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name}); err != nil {
		t.Error(err)
	}
	b.reopen()
	_, err = b.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: name})
	b.failed(err, "NoSuchEntity")
}

func TestRoleChanges(t *testing.T) {
	b := newBed(t)
	ctx, name := t.Context(), aws.String("changing")
	b.role(*name)
	if _, err := b.iam.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: name, Description: aws.String("new"), MaxSessionDuration: aws.Int32(7200)}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.iam.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: aws.String("{}")}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.iam.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: []types.Tag{{Key: aws.String("env"), Value: aws.String("dev")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.iam.UntagRole(ctx, &iam.UntagRoleInput{RoleName: name, TagKeys: []string{"team", "none"}}); err != nil {
		t.Fatal(err)
	}
	out, err := b.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: name})
	if err != nil || *out.Role.Description != "new" || *out.Role.MaxSessionDuration != 7200 || decoded(t, out.Role.AssumeRolePolicyDocument) != "{}" {
		t.Errorf("role = %+v, %v", out, err)
	}
	tags, err := b.iam.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: name})
	if err != nil || len(tags.Tags) != 1 || *tags.Tags[0].Key != "env" {
		t.Errorf("tags = %+v, %v", tags, err)
	}
	linked, err := b.iam.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("network.bedrock-agentcore.amazonaws.com")})
	if err != nil || *linked.Role.RoleName != "AWSServiceRoleForNetworkBedrockAgentcore" || *linked.Role.Path != "/aws-service-role/network.bedrock-agentcore.amazonaws.com/" {
		t.Errorf("linked = %+v, %v", linked, err)
	}
	roles, err := b.iam.ListRoles(ctx, &iam.ListRolesInput{})
	if err != nil || len(roles.Roles) != 2 || roles.IsTruncated {
		t.Errorf("roles = %+v, %v", roles, err)
	}
}

func TestPolicies(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	created, err := b.iam.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("mine"), Path: aws.String("/agents/"), PolicyDocument: aws.String(document)})
	if err != nil || *created.Policy.Arn != "arn:aws:iam::123456789012:policy/agents/mine" {
		t.Fatalf("created = %+v, %v", created, err)
	}
	arn := created.Policy.Arn
	_, err = b.iam.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("mine"), Path: aws.String("/agents/"), PolicyDocument: aws.String(document)})
	b.failed(err, "EntityAlreadyExists")
	b.role("holder")
	if _, err := b.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("holder"), PolicyArn: arn}); err != nil {
		t.Fatal(err)
	}
	_, err = b.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("holder"), PolicyArn: aws.String(*arn + "x")})
	b.failed(err, "NoSuchEntity")
	b.reopen()
	if err := iam.NewPolicyExistsWaiter(b.iam).Wait(ctx, &iam.GetPolicyInput{PolicyArn: arn}, time.Second); err != nil {
		t.Error(err)
	}
	got, err := b.iam.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: arn})
	if err != nil || *got.Policy.AttachmentCount != 1 || *got.Policy.DefaultVersionId != "v1" {
		t.Errorf("policy = %+v, %v", got, err)
	}
	version, err := b.iam.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: arn, VersionId: got.Policy.DefaultVersionId})
	if err != nil || decoded(t, version.PolicyVersion.Document) != document {
		t.Errorf("version = %+v, %v", version, err)
	}
	if out, err := b.iam.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: arn}); err != nil || len(out.Versions) != 1 {
		t.Errorf("versions = %+v, %v", out, err)
	}
	if out, err := b.iam.ListPolicies(ctx, &iam.ListPoliciesInput{Scope: types.PolicyScopeTypeLocal, OnlyAttached: true}); err != nil || len(out.Policies) != 1 {
		t.Errorf("policies = %+v, %v", out, err)
	}
	_, err = b.iam.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn})
	b.failed(err, "DeleteConflict")
	if _, err := b.iam.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String("holder"), PolicyArn: arn}); err != nil {
		t.Error(err)
	}
	if _, err := b.iam.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn}); err != nil {
		t.Error(err)
	}
	_, err = b.iam.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: arn})
	b.failed(err, "NoSuchEntity")
}

func TestRefusals(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	for _, c := range []struct{ name, path, trust, code string }{
		{"r", "/", "not JSON", "MalformedPolicyDocument"},
		{"r", "/", "[]", "MalformedPolicyDocument"},
		{"r", "/", "null", "MalformedPolicyDocument"},
		{"a/b", "/", "{}", "ValidationError"},
		{strings.Repeat("x", 65), "/", "{}", "ValidationError"},
		{"r", "no-slash", "{}", "ValidationError"},
	} {
		_, err := b.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &c.name, Path: &c.path, AssumeRolePolicyDocument: &c.trust})
		b.failed(err, c.code)
	}
	_, err := b.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("none"), PolicyName: aws.String("p"), PolicyDocument: aws.String("{}")})
	b.failed(err, "NoSuchEntity")
	_, err = b.iam.ListUsers(ctx, &iam.ListUsersInput{})
	b.failed(err, "InvalidAction")
	if !strings.Contains(err.Error(), "CreateRole") {
		t.Errorf("does not name what is offered: %v", err)
	}
	_, err = b.sts.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("any")})
	b.failed(err, "InvalidAction")
	resp, err := http.Post(b.url, "application/x-www-form-urlencoded", strings.NewReader("Action=CreateRole&AssumeRolePolicyDocument="+strings.Repeat("x", maxForm)))
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 400 || !strings.Contains(string(text), "MalformedQueryString") {
		t.Errorf("a large request: %s %s %v", resp.Status, text, err)
	}
}

func TestSTS(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	caller, err := b.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *caller.Account != account || *caller.Arn != "arn:aws:iam::123456789012:user/isolde" || *caller.UserId == "" {
		t.Errorf("caller = %+v, %v", caller, err)
	}
	role := b.role("assumed")
	assumed, err := b.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: role.Arn, RoleSessionName: aws.String("mine"), DurationSeconds: aws.Int32(900)})
	if err != nil || *assumed.AssumedRoleUser.Arn != "arn:aws:sts::123456789012:assumed-role/assumed/mine" || *assumed.AssumedRoleUser.AssumedRoleId != *role.RoleId+":mine" {
		t.Fatalf("assumed = %+v, %v", assumed, err)
	}
	if c := assumed.Credentials; len(*c.AccessKeyId) != 20 || len(*c.SecretAccessKey) != 40 || time.Until(*c.Expiration) > 900*time.Second || time.Until(*c.Expiration) < 600*time.Second {
		t.Errorf("credentials = %+v", c)
	}
	_, err = b.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::1:role/x-long-enough"), RoleSessionName: aws.String("mine")})
	b.failed(err, "ValidationError")
	if out, err := b.sts.GetSessionToken(ctx, &sts.GetSessionTokenInput{}); err != nil || *out.Credentials.SessionToken == "" {
		t.Errorf("token = %+v, %v", out, err)
	}
}

// TestFile keeps what it cannot read, and is whole after a failed write.
func TestFile(t *testing.T) {
	b := newBed(t)
	b.role("kept")
	before, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatal(err)
	}
	left := b.file + unfinished + "1"
	for file, text := range map[string]string{left: "{", b.file + ".broken": "{", b.file + ".other": `{"name":"x"}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.reopen()
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an unfinished write is left: %v", err)
	}
	for _, name := range []string{b.file + ".broken", b.file + ".other"} {
		if _, err := Open(Config{File: name}); err == nil {
			t.Errorf("%s was opened", name)
		}
	}
	// The folder's name is the file's: no write can succeed.
	b.service.file = filepath.Join(b.file, "not-a-folder")
	_, err = b.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("lost"), AssumeRolePolicyDocument: aws.String("{}")})
	b.failed(err, "ServiceFailure")
	_, err = b.iam.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("lost")})
	b.failed(err, "NoSuchEntity")
	if after, err := os.ReadFile(b.file); err != nil || string(after) != string(before) {
		t.Errorf("the file changed: %s, %v", after, err)
	}
}
