package agentcore

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/isolde-run/isolde"
)

// cardPath is where A2A has an agent's card, at the agent and below the
// address of its invocations.
const cardPath = "/.well-known/agent-card.json"

// maxCard bounds an agent card, in bytes.
const maxCard = 1 << 20

// getAgentCard serves GetAgentCard: the agent's own card, with the address at
// which the caller reaches the agent.
func (h *Handler) getAgentCard(w http.ResponseWriter, r *http.Request) {
	request := newRequestID()
	w.Header().Set(HeaderRequestID, request)
	session, err := sessionID(r)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set(HeaderSession, string(session))
	card, err := h.agentCard(r, session, request)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, card)
}

func (h *Handler) agentCard(r *http.Request, session isolde.SessionID, request string) (map[string]any, error) {
	target, err := h.target(r)
	if err != nil {
		return nil, err
	}
	t, err := h.Catalog.Resolve(r.Context(), target, qualifier(r))
	if err != nil {
		return nil, err
	}
	if p := t.Version.Spec.Protocol; p != isolde.ProtocolA2A {
		if p == "" {
			p = isolde.ProtocolHTTP
		}
		return nil, isolde.Errorf(isolde.CodeInvalid, "agent runtime %s speaks %s; only A2A agents have a card", t.Runtime.ID, p)
	}
	x := exchange{spec: &t.Version.Spec, defaults: true}
	header, err := x.agentHeader(r.Header, session, request)
	if err != nil {
		return nil, err
	}
	header["Accept"] = []string{"application/json"}
	delete(header, "Content-Type")
	resp, err := h.Gateway.Invoke(r.Context(), &isolde.Invocation{
		Target: target, Qualifier: qualifier(r), Session: session, RequestID: request,
		Method: http.MethodGet, Path: cardPath, Header: header,
	})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxCard+1))
	if err != nil {
		return nil, err
	}
	var card map[string]any
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	switch err := d.Decode(&card); {
	case len(text) > maxCard:
		return nil, isolde.Errorf(isolde.CodeAgent, "the agent's card has more than %d bytes", maxCard)
	case err != nil:
		return nil, isolde.Errorf(isolde.CodeAgent, "the agent's card is not a JSON object: %w", err)
	}
	readdress(card, invocationURL(r))
	return card, nil
}

// invocationURL is where the caller invokes the agent whose card it asks for.
func invocationURL(r *http.Request) string {
	address := baseURL(r) + strings.TrimSuffix(r.URL.EscapedPath(), cardPath)
	if q := qualifier(r); q != "" { // and nothing else of the query: it may hold a signature
		address += "?qualifier=" + url.QueryEscape(string(q))
	}
	return address
}

// readdress writes the address into a card: that of the card's own transport,
// and of the interfaces that speak JSON-RPC, the one transport that an
// invocation carries. Cards of A2A 0.3 have url and additionalInterfaces,
// those of 1.0 supportedInterfaces. A signature of the card, which is over the
// agent's own idea of its address, no longer fits.
func readdress(card map[string]any, url string) {
	if t, _ := card["preferredTransport"].(string); card["url"] != nil && (t == "" || t == "JSONRPC") {
		card["url"] = url
	}
	for list, transport := range map[string]string{"additionalInterfaces": "transport", "supportedInterfaces": "protocolBinding"} {
		interfaces, _ := card[list].([]any)
		for _, i := range interfaces {
			if i, ok := i.(map[string]any); ok && i[transport] == "JSONRPC" {
				i["url"] = url
			}
		}
	}
	delete(card, "signatures")
}
