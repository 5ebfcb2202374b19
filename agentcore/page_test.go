package agentcore_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	control "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/google/go-cmp/cmp"
)

// TestPages turns pages while rows come and go, and lets the server restart in
// between.
func TestPages(t *testing.T) {
	b := newBed(t, nil)
	ctx := t.Context()
	ids := make(map[string]*string)
	for _, name := range []string{"a", "b", "c", "d", "f", "g"} {
		ids[name] = b.create(t, name).AgentRuntimeId
		b.await(t, ids[name])
	}
	list := func(token *string) (names []string, next *string) {
		t.Helper()
		out, err := b.control.ListAgentRuntimes(ctx, &control.ListAgentRuntimesInput{MaxResults: aws.Int32(3), NextToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out.AgentRuntimes {
			names = append(names, aws.ToString(r.AgentRuntimeName))
		}
		return names, out.NextToken
	}
	first, next := list(nil)
	b.create(t, "aa")                                                                                                        // before the boundary: not seen
	if _, err := b.control.DeleteAgentRuntime(ctx, &control.DeleteAgentRuntimeInput{AgentRuntimeId: ids["c"]}); err != nil { // the boundary itself
		t.Fatal(err)
	}
	b.create(t, "h") // after it: seen
	b.serve(t)       // restarted
	second, next := list(next)
	third, next := list(next)
	want := [][]string{{"a", "b", "c"}, {"d", "echo", "f"}, {"g", "h"}}
	if diff := cmp.Diff(want, [][]string{first, second, third}); diff != "" || next != nil {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}

// TestPaginators walks all lists with the SDK's own paginators.
func TestPaginators(t *testing.T) {
	b := newBed(t, nil)
	ctx, id := t.Context(), aws.String(strings.TrimPrefix(b.arn, b.locality.RuntimeARN("")))
	for range 4 { // versions 2 to 5
		if _, err := b.control.UpdateAgentRuntime(ctx, &control.UpdateAgentRuntimeInput{AgentRuntimeId: id, RoleArn: aws.String(role), AgentRuntimeArtifact: container("x")}); err != nil {
			t.Fatal(err)
		}
		b.await(t, id)
	}
	for _, name := range []string{"b", "Z", "a_1", "a"} {
		if _, err := b.control.CreateAgentRuntimeEndpoint(ctx, &control.CreateAgentRuntimeEndpointInput{AgentRuntimeId: id, Name: &name}); err != nil {
			t.Fatal(err)
		}
	}
	for limit := range int32(6) {
		var versions, endpoints []string
		limit := aws.Int32(limit + 1)
		for p := control.NewListAgentRuntimeVersionsPaginator(b.control, &control.ListAgentRuntimeVersionsInput{AgentRuntimeId: id, MaxResults: limit}); p.HasMorePages(); {
			out, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range out.AgentRuntimes {
				versions = append(versions, aws.ToString(v.AgentRuntimeVersion))
			}
		}
		for p := control.NewListAgentRuntimeEndpointsPaginator(b.control, &control.ListAgentRuntimeEndpointsInput{AgentRuntimeId: id, MaxResults: limit}); p.HasMorePages(); {
			out, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(out.RuntimeEndpoints) > int(*limit) {
				t.Errorf("page of %d holds %d", *limit, len(out.RuntimeEndpoints))
			}
			for _, e := range out.RuntimeEndpoints {
				endpoints = append(endpoints, aws.ToString(e.Name))
			}
		}
		if want := []string{"5", "4", "3", "2", "1"}; !slices.Equal(versions, want) {
			t.Errorf("versions by %d = %v, want %v", *limit, versions, want)
		}
		if want := []string{"DEFAULT", "Z", "a", "a_1", "b"}; !slices.Equal(endpoints, want) {
			t.Errorf("endpoints by %d = %v, want %v", *limit, endpoints, want)
		}
	}
}

// TestPageParameters wants tokens of other lists, and none at all, refused.
func TestPageParameters(t *testing.T) {
	b := newBed(t, nil)
	other := b.create(t, "other").AgentRuntimeId
	b.await(t, other)
	if _, err := b.control.UpdateAgentRuntime(t.Context(), &control.UpdateAgentRuntimeInput{AgentRuntimeId: other, RoleArn: aws.String(role), AgentRuntimeArtifact: container("x")}); err != nil {
		t.Fatal(err)
	}
	id := strings.TrimPrefix(b.arn, b.locality.RuntimeARN(""))
	runtimes, versions, endpoints := "/runtimes/", "/runtimes/"+id+"/versions/", "/runtimes/"+id+"/runtime-endpoints/"
	tokenOf := func(path string) string {
		t.Helper()
		return fmt.Sprint(object(t, b.do(t, http.MethodPost, path+"?maxResults=1", nil).body)["nextToken"])
	}
	ofRuntimes, ofOther := tokenOf(runtimes), tokenOf("/runtimes/"+*other+"/versions/")
	for _, test := range []struct {
		path   string
		fields []string
	}{
		{runtimes + "?maxResults=0", []string{"maxResults"}},
		{runtimes + "?maxResults=101", []string{"maxResults"}},
		{runtimes + "?maxResults=-1", []string{"maxResults"}},
		{runtimes + "?maxResults=1.5&nextToken=x", []string{"maxResults", "nextToken"}},
		{runtimes + "?nextToken=" + ofOther, []string{"nextToken"}},
		{runtimes + "?nextToken=" + ofRuntimes[1:], []string{"nextToken"}},
		{runtimes + "?nextToken=%00", []string{"nextToken"}},
		{runtimes + "?nextToken=" + strings.Repeat("A", 4000), []string{"nextToken"}},
		{versions + "?nextToken=" + ofRuntimes, []string{"nextToken"}},
		{versions + "?nextToken=" + ofOther, []string{"nextToken"}},
		{versions + "?nextToken=dmVyc2lvbnM", []string{"nextToken"}},
		{endpoints + "?nextToken=" + ofOther, []string{"nextToken"}},
		{endpoints + "?maxResults=many", []string{"maxResults"}},
	} {
		t.Run(test.path, func(t *testing.T) { checkInvalid(t, b.do(t, http.MethodPost, test.path, nil), test.fields...) })
	}
	if a := b.do(t, http.MethodPost, runtimes+"?maxResults=100&nextToken="+ofRuntimes, nil); a.status != 200 {
		t.Errorf("a good token: %d %s", a.status, a.body)
	}
}
