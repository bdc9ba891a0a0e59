package main

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second // the page over a slow line; WebSockets have their own
	idleTimeout   = time.Minute
	shutdownGrace = time.Second
)

//go:embed page
var page embed.FS

type server struct {
	http *http.Server
	hub  *hub
}

// newServer makes the server; every WebSocket ends with ctx.
func newServer(ctx context.Context, o options, log *slog.Logger) *server {
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	h := newHub(ctx, newICEClient(o.ice, o.iceKey, o.policy), o.ringFor, log)
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /one2one", h.serve)
	return &server{
		hub: h,
		http: &http.Server{
			Handler:           guarded(mux),
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
			BaseContext:       func(net.Listener) context.Context { return ctx },
		},
	}
}

// guarded adds the headers that keep the page to itself: its own scripts and styles, nobody's frame, and camera and
// microphone for nobody else.
func guarded(next http.Handler) http.Handler {
	headers := [][2]string{
		{"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; connect-src 'self'; " +
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
		{"Permissions-Policy", "camera=(self), microphone=(self), geolocation=()"},
		{"Referrer-Policy", "no-referrer"},
		{"X-Content-Type-Options", "nosniff"},
		{"Cross-Origin-Opener-Policy", "same-origin"},
		{"Cache-Control", "no-cache"},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, h := range headers {
			w.Header().Set(h[0], h[1])
		}
		next.ServeHTTP(w, r)
	})
}
