package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// A sink takes lines. Its methods are called by one goroutine.
type sink interface {
	// write takes lines and returns how many bytes of them it is done with. An error that is errRefused will be the same
	// the next time.
	write(ctx context.Context, lines []byte) (int, error)
	reopen() error
	close() error
}

// errRefused marks lines that a sink will never take.
var errRefused = errors.New("refused for good")

// newSink opens a target: "stdout", an http or https URL, or a file that is made or appended to.
func newSink(target string, stdout io.Writer) (sink, error) {
	switch {
	case target == "":
		return nil, errors.New("no target for events: name a file, stdout or an http(s) URL")
	case target == "stdout":
		return &stream{stdout}, nil
	case isURL(target):
		return newServer(target)
	}
	f := &file{path: target}
	return f, f.reopen()
}

func isURL(target string) bool { return strings.Contains(target, "://") }

// Check says what is wrong with a target as it is written; nothing is opened.
func Check(target string) error {
	if !isURL(target) {
		return nil
	}
	_, err := parseServer(target)
	return err
}

// Hide returns a target without what may be a secret: of a URL there is left whose it is.
func Hide(target, mark string) string {
	u, err := parseServer(target)
	switch {
	case !isURL(target):
		return target
	case err != nil:
		return mark
	case u.User == nil && u.RawQuery == "" && strings.Trim(u.Path, "/") == "":
		return target
	}
	return u.Scheme + "://" + u.Host + "/" + mark
}

// stream is a sink that somebody else opened.
type stream struct{ io.Writer }

func (s *stream) write(_ context.Context, lines []byte) (int, error) { return s.Write(lines) }
func (s *stream) reopen() error                                      { return nil }
func (s *stream) close() error                                       { return nil }

// file is a sink whose file may be moved away.
type file struct {
	path string
	*os.File
}

// write writes to the file. One that is a pipe has its time, as a server has; others know none.
func (f *file) write(_ context.Context, lines []byte) (int, error) {
	_ = f.SetWriteDeadline(time.Now().Add(sinkTimeout))
	return f.Write(lines)
}

// reopen opens the path anew; a failure leaves the file open that is.
func (f *file) reopen() error {
	// Readable for the owner and the group: user names and addresses are nobody else's.
	opened, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|dontWait, 0o640)
	switch {
	case errors.Is(err, syscall.ENXIO):
		return fmt.Errorf("events cannot be written: nobody reads the pipe %s: start its reader first", f.path)
	case err != nil:
		return fmt.Errorf("events cannot be written: %w", err)
	}
	if f.File != nil {
		err = f.Close()
	}
	f.File = opened
	return err
}

func (f *file) close() error { return f.Close() }

const (
	sinkTimeout = 10 * time.Second // of one request, and of one write to a pipe
	httpAnswer  = 64 << 10         // bytes of an answer that are read, so that the connection can be used again
)

// server is a sink that lines are posted to.
type server struct {
	url    *url.URL
	client *http.Client
}

// parseServer's error says nothing of target, which may hold a password.
func parseServer(target string) (*url.URL, error) {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("the URL for events is not valid: write it as https://HOST:PORT/PATH")
	}
	return u, nil
}

func newServer(target string) (*server, error) {
	u, err := parseServer(target)
	if err != nil {
		return nil, err
	}
	return &server{u, &http.Client{
		Timeout: sinkTimeout,
		// An answer of another address is a fault of the configuration, and no reason to send addresses and names there.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// write posts lines. What a server answers with 2xx it has; 408, 425, 429 and 5xx may be otherwise the next time.
func (s *server) write(ctx context.Context, lines []byte) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url.String(), bytes.NewReader(lines))
	if err != nil {
		return 0, errRefused
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	answer, err := s.client.Do(request)
	if err != nil {
		var withURL *url.Error // whose query may be a secret
		if errors.As(err, &withURL) {
			err = withURL.Err
		}
		return 0, err
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, io.LimitReader(answer.Body, httpAnswer)) //nolint:errcheck // the status has said it all
	switch code := answer.StatusCode; {
	case code/100 == 2:
		return len(lines), nil
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly || code == http.StatusTooManyRequests || code/100 == 5:
		return 0, fmt.Errorf("the server answered %s", answer.Status)
	default:
		return 0, fmt.Errorf("the server answered %s: %w", answer.Status, errRefused)
	}
}

func (s *server) reopen() error { return nil }

func (s *server) close() error {
	s.client.CloseIdleConnections()
	return nil
}
