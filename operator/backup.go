package operator

import (
	"net/http"
	"time"
)

// backupStall is how long a caller may take nothing of a backup before it is
// cut off: while one runs, no images are collected.
const backupStall = 5 * time.Minute

// backup streams a copy of the server. An error that comes once the stream
// has begun breaks it off: no end of a tar could tell it.
func (h *Handler) backup(w http.ResponseWriter, r *http.Request) {
	out := &backupWriter{w: w, rc: http.NewResponseController(w)}
	err := h.Backup(r.Context(), out, r.URL.Query().Get("databaseOnly") == "true")
	switch {
	case err == nil:
		_ = out.rc.SetWriteDeadline(time.Time{}) // the connection is good for more
	case !out.begun:
		h.fail(w, r, err)
	default:
		if r.Context().Err() == nil {
			h.Logger.Error("backup broke off", "err", err)
		}
		panic(http.ErrAbortHandler)
	}
}

// backupWriter begins the answer with the first byte.
type backupWriter struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool
}

// Write implements io.Writer.
func (b *backupWriter) Write(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		b.w.Header().Set("Content-Type", "application/x-tar")
	}
	_ = b.rc.SetWriteDeadline(time.Now().Add(backupStall))
	return b.w.Write(p)
}
