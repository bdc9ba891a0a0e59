package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	iceTimeout   = 5 * time.Second
	maxICEAnswer = 64 << 10 // bytes
)

// errNoICE is what users are told when there is no ICE configuration for them. The cause is for the log.
var errNoICE = errors.New("the relay's credential service gives no answer; please try again later")

// iceClient asks the relay's ICE service.
type iceClient struct {
	url    *url.URL
	key    string
	policy string
	http   *http.Client
}

func newICEClient(at *url.URL, key, policy string) *iceClient {
	return &iceClient{url: at, key: key, policy: policy, http: &http.Client{Timeout: iceTimeout}}
}

// configuration fetches a fresh one, whose credential is good for one call.
func (c *iceClient) configuration(ctx context.Context, user string) (json.RawMessage, error) {
	at := *c.url
	query := at.Query()
	query.Set("service", "turn")
	query.Set("username", user)
	query.Set("iceTransportPolicy", c.policy)
	at.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ICE service: %w", withoutURL(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxICEAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("ICE service: %w", err)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("ICE service: %s: %.200q", response.Status, body) // a refusal holds no credential
	case len(body) > maxICEAnswer:
		return nil, fmt.Errorf("ICE service: the answer has more than %d bytes", maxICEAnswer)
	}
	var configuration struct {
		ICEServers []json.RawMessage `json:"iceServers"`
	}
	if err := json.Unmarshal(body, &configuration); err != nil || len(configuration.ICEServers) == 0 {
		return nil, errors.New("ICE service: the answer is no ICE configuration")
	}
	return body, nil
}

// withoutURL keeps user names out of the log.
func withoutURL(err error) error {
	var withURL *url.Error
	if errors.As(err, &withURL) {
		return withURL.Err
	}
	return err
}
