package a2aagent_test

import (
	"context"
	"iter"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2aclient"
	"github.com/a2aproject/a2a-go/v2/a2aclient/agentcard"
	"github.com/a2aproject/a2a-go/v2/a2asrv"

	"github.com/isolde-run/isolde/agent"
	"github.com/isolde-run/isolde/agent/protocols/a2aagent"
)

// greeter answers with whom it greets in which request.
type greeter struct{ finish chan bool }

func (g greeter) Execute(ctx context.Context, call *a2asrv.ExecutorContext) iter.Seq2[a2a.Event, error] {
	return func(yield func(a2a.Event, error) bool) {
		agent.Go(ctx, "forecast", func(context.Context) error { <-g.finish; return nil })
		text := call.Message.Parts[0].Text() + " in a call with an id: "
		if agent.FromContext(ctx).RequestID != "" {
			text += "yes"
		}
		yield(a2a.NewMessage(a2a.MessageRoleAgent, a2a.NewTextPart(text)), nil)
	}
}

func (greeter) Cancel(context.Context, *a2asrv.ExecutorContext) iter.Seq2[a2a.Event, error] {
	return func(func(a2a.Event, error) bool) {}
}

// TestMessage finds the agent by its card and sends it a message.
func TestMessage(t *testing.T) {
	host := httptest.NewUnstartedServer(nil)
	url := "http://" + host.Listener.Addr().String() + "/"
	t.Setenv("AGENTCORE_RUNTIME_URL", url)
	finish := make(chan bool)
	app := a2aagent.New(&a2a.AgentCard{Name: "greeter", Version: "1"}, greeter{finish})
	app.Logger = slog.New(slog.DiscardHandler)
	host.Config.Handler = app
	host.Start()
	defer host.Close()

	card, err := agentcard.DefaultResolver.Resolve(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if got := card.SupportedInterfaces; len(got) != 1 || got[0].URL != url {
		t.Fatalf("the card names %+v", got)
	}
	client, err := a2aclient.NewFromCard(t.Context(), card)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.SendMessage(t.Context(), &a2a.SendMessageRequest{
		Message: a2a.NewMessage(a2a.MessageRoleUser, a2a.NewTextPart("hello")),
	})
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := answer.(*a2a.Message); !ok || m.Parts[0].Text() != "hello in a call with an id: yes" {
		t.Errorf("got %+v", answer)
	}
	if got := app.Status(); got != agent.HealthyBusy {
		t.Errorf("with a task in the background the agent is %s", got)
	}
	close(finish)
}
