package shopproto

import (
	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	authv1 "github.com/leveretmq/leveret/pkg/shop/internal/proto/leveret/shop/auth/v1"
	"github.com/leveretmq/leveret/queues"
)

// Auth returns the methods of the auth service.
func Auth() []grpcrpc.Method { return append(passwords(), sessions()...) }

func passwords() []grpcrpc.Method {
	return []grpcrpc.Method{
		grpcrpc.Unary(queues.SetPassword, authv1.AuthService_SetPassword_FullMethodName,
			func(q queues.SetPasswordRequest) *authv1.SetPasswordRequest {
				return &authv1.SetPasswordRequest{UserId: q.UserID, Password: string(q.Password)}
			},
			func(p *authv1.SetPasswordRequest) queues.SetPasswordRequest {
				return queues.SetPasswordRequest{UserID: p.GetUserId(), Password: leveret.Secret(p.GetPassword())}
			},
			func(queues.SetPasswordReply) *authv1.SetPasswordResponse { return &authv1.SetPasswordResponse{} },
			func(*authv1.SetPasswordResponse) queues.SetPasswordReply { return queues.SetPasswordReply{} }),
		grpcrpc.Unary(queues.CheckPassword, authv1.AuthService_CheckPassword_FullMethodName,
			func(q queues.CheckPasswordRequest) *authv1.CheckPasswordRequest {
				return &authv1.CheckPasswordRequest{UserId: q.UserID, Password: string(q.Password)}
			},
			func(p *authv1.CheckPasswordRequest) queues.CheckPasswordRequest {
				return queues.CheckPasswordRequest{UserID: p.GetUserId(), Password: leveret.Secret(p.GetPassword())}
			},
			func(t queues.Tokens) *authv1.CheckPasswordResponse {
				return &authv1.CheckPasswordResponse{Tokens: toTokens(t)}
			},
			func(p *authv1.CheckPasswordResponse) queues.Tokens { return fromTokens(p.GetTokens()) }),
	}
}

func sessions() []grpcrpc.Method {
	return []grpcrpc.Method{
		grpcrpc.Unary(queues.RefreshTokens, authv1.AuthService_RefreshSession_FullMethodName,
			func(q queues.RefreshTokensRequest) *authv1.RefreshSessionRequest {
				return &authv1.RefreshSessionRequest{RefreshToken: string(q.RefreshToken)}
			},
			func(p *authv1.RefreshSessionRequest) queues.RefreshTokensRequest {
				return queues.RefreshTokensRequest{RefreshToken: leveret.Secret(p.GetRefreshToken())}
			},
			func(t queues.Tokens) *authv1.RefreshSessionResponse {
				return &authv1.RefreshSessionResponse{Tokens: toTokens(t)}
			},
			func(p *authv1.RefreshSessionResponse) queues.Tokens { return fromTokens(p.GetTokens()) }),
		grpcrpc.Unary(queues.LogOut, authv1.AuthService_LogOut_FullMethodName,
			func(q queues.LogOutRequest) *authv1.LogOutRequest {
				return &authv1.LogOutRequest{RefreshToken: string(q.RefreshToken)}
			},
			func(p *authv1.LogOutRequest) queues.LogOutRequest {
				return queues.LogOutRequest{RefreshToken: leveret.Secret(p.GetRefreshToken())}
			},
			func(queues.LogOutReply) *authv1.LogOutResponse { return &authv1.LogOutResponse{} },
			func(*authv1.LogOutResponse) queues.LogOutReply { return queues.LogOutReply{} }),
		grpcrpc.Unary(queues.ListKeys, authv1.AuthService_ListKeys_FullMethodName,
			func(queues.ListKeysRequest) *authv1.ListKeysRequest { return &authv1.ListKeysRequest{} },
			func(*authv1.ListKeysRequest) queues.ListKeysRequest { return queues.ListKeysRequest{} },
			toKeys, fromKeys),
	}
}

func toTokens(t queues.Tokens) *authv1.Tokens {
	return &authv1.Tokens{
		UserId: t.UserID, AccessToken: string(t.AccessToken), AccessExpiresAt: toTime(t.AccessExpiresAt),
		RefreshToken: string(t.RefreshToken), RefreshExpiresAt: toTime(t.RefreshExpiresAt),
	}
}

func fromTokens(p *authv1.Tokens) queues.Tokens {
	return queues.Tokens{
		UserID: p.GetUserId(), AccessToken: leveret.Secret(p.GetAccessToken()), AccessExpiresAt: fromTime(p.GetAccessExpiresAt()),
		RefreshToken: leveret.Secret(p.GetRefreshToken()), RefreshExpiresAt: fromTime(p.GetRefreshExpiresAt()),
	}
}

func toKeys(r queues.ListKeysReply) *authv1.ListKeysResponse {
	p := &authv1.ListKeysResponse{Keys: make([]*authv1.Key, len(r.Keys))}
	for i, k := range r.Keys {
		p.Keys[i] = &authv1.Key{Kid: k.KeyID, Kty: k.Type, Crv: k.Curve, X: k.X, NotAfter: toTime(k.NotAfter)}
	}
	return p
}

func fromKeys(p *authv1.ListKeysResponse) queues.ListKeysReply {
	r := queues.ListKeysReply{Keys: make([]queues.PublicKey, len(p.GetKeys()))}
	for i, k := range p.GetKeys() {
		r.Keys[i] = queues.PublicKey{
			KeyID: k.GetKid(), Type: k.GetKty(), Curve: k.GetCrv(), X: k.GetX(), NotAfter: fromTime(k.GetNotAfter()),
		}
	}
	return r
}
