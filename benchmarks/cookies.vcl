# Varnish passes what carries a Cookie by default. As vivace and nginx do, these answer it from what is kept.
vcl 4.1;
backend origin {
    .host = "127.0.0.1";
    .port = "@ORIGIN@";
}
sub vcl_recv {
    unset req.http.Cookie;
}
